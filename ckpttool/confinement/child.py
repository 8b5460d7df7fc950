"""A confined child: a copy of this process that goes on in its place, while this one waits for how it ends."""

import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from ckpttool.confinement.confinement import Confinement
from ckpttool.core.temporary_folders import TemporaryFolder

_DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG`: what a process is sent when its parent ends."""
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""What the child is sent when this process is: it has a process group of its own, which a terminal does not know."""
ASKED_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_WHEN_ASKED = (60.0, 5.0)
"""Seconds that a child may go on without a sign of progress when it was asked to end: once, and again. Python takes
no signal while TensorFlow computes, as it does without end in an endless loop."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: the exit code, as a shell has it, and `why` where it did not end by itself.

    `asked` is the signal that asked it to end, where it had to be killed for that.
    """

    code: int
    why: str = ""
    asked: int = 0


@dataclass(frozen=True)
class Confined:
    """What a confined child has of its parent."""

    signs: int

    def progressed(self) -> None:
        """Give a sign of progress."""
        with contextlib.suppress(BlockingIOError):  # there are enough of them
            os.write(self.signs, b".")


def go_on_confined(confinement: Confinement) -> Ended | Confined:
    """Return twice: in a confined child, which goes on, and here, once that has ended.

    Threads do not come along: no library that starts some may have been imported.

    Raises:
        OSError: the system refuses to confine; raised in the child.
    """
    temporary = TemporaryFolder.new("wall")
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until it is known whom they are for
    gc.freeze()  # a collection that looked at what both have would have it copied
    parent, child = os.getpid(), os.fork()
    if child == 0:
        os.close(reading)
        os.set_blocking(writing, False)
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # which ended before the line above
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        confinement.enter(temporary.path)
        return Confined(writing)
    os.close(writing)
    try:
        return _Watch(child, reading, confinement.patience).ended()
    finally:
        temporary.remove()


class _Watch:
    """Waits for a child, and passes signals on to it."""

    def __init__(self, child: int, signs: int, patience: float) -> None:
        self._child, self._signs, self._patience = child, signs, patience
        self._last, self._seen = time.monotonic(), self._moved()
        self._asked = 0

    def ended(self) -> Ended:
        """Return how the child ended, by itself or for want of progress."""
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)
        signal.signal(signal.SIGTSTP, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        is_stalled = False
        while not is_stalled:
            left = self._last + self._patience - time.monotonic()
            ready, _, _ = select.select([self._signs], [], [], min(1.0, max(0.0, left)))  # patience may change
            if ready and not os.read(self._signs, 4096):
                break  # the child has closed its end
            is_over = not ready and self._last + self._patience <= time.monotonic()
            before, self._seen = self._seen, self._moved() if is_over else self._seen
            is_stalled = is_over and self._seen == before
            self._last = time.monotonic() if ready or is_over else self._last
        if is_stalled:
            os.killpg(self._child, signal.SIGKILL)
        _, status = os.waitpid(self._child, 0)
        code = os.waitstatus_to_exitcode(status)
        if is_stalled and self._asked:
            return Ended(128 + self._asked, "did not end when it was asked to, and was killed", self._asked)
        if is_stalled:
            return Ended(128 + signal.SIGKILL, f"computed for {self._patience:g} s without a sign of progress")
        if code < 0:
            return Ended(128 - code, "" if -code in PASSED_ON else f"was ended by {signal.Signals(-code).name}")
        return Ended(code)

    def _moved(self) -> str:
        """Return how much the child has read and written, which is progress too: a graph without end does neither."""
        try:
            return "".join(Path(f"/proc/{self._child}/io").read_text().splitlines(keepends=True)[:2])
        except OSError:
            return ""

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        os.kill(self._child, number)
        if number in ASKED_TO_END:
            self._patience = min(self._patience, PATIENCE_WHEN_ASKED[bool(self._asked)])
            self._last, self._seen, self._asked = time.monotonic(), self._moved(), number

    def _stop(self, number: int, frame: FrameType | None) -> None:
        """Stop the child and this process, as a terminal's Ctrl-Z asks; both go on together."""
        os.killpg(self._child, signal.SIGSTOP)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stop)
        self._last = time.monotonic()
        os.killpg(self._child, signal.SIGCONT)
