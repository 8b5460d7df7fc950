"""A confined child: a fork that continues the work, while the parent forwards signals and waits for its end."""

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
"""`PR_SET_PDEATHSIG`: the prctl that sets the signal a process receives when its parent ends."""
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals forwarded to the child, which is in a process group of its own and gets none from the terminal."""
ASKED_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_WHEN_ASKED = (60.0, 5.0)
"""Seconds that a child may continue without progress after the first and the second request to end. Python handles no
signals while TensorFlow computes, which never stops in an endless loop."""


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code (128 plus the signal, as in a shell), and `why` if it did not exit by itself.

    `asked` is the signal that requested the end if the child ignored it and was killed; else 0.
    """

    code: int
    why: str = ""
    asked: int = 0


@dataclass(frozen=True)
class Confined:
    """The child's connection to its parent: `signs` is the pipe for signs of progress."""

    signs: int

    def progressed(self) -> None:
        """Report progress to the parent."""
        with contextlib.suppress(BlockingIOError):  # the pipe is full of them
            os.write(self.signs, b".")


def go_on_confined(confinement: Confinement) -> Ended | Confined:
    """Fork, and return twice: `Confined` in the child at once, and `Ended` in the parent once the child has ended.

    Threads do not survive a fork: no library that starts any may have been imported.

    Raises:
        OSError: the system refuses to confine the process; raised in the child.
    """
    temporary = TemporaryFolder.new("wall")
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until the handlers are in place
    gc.freeze()  # a garbage collection would copy shared pages
    parent, child = os.getpid(), os.fork()
    if child == 0:
        os.close(reading)
        os.set_blocking(writing, False)
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before prctl took effect
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
    """Waits for a child, and forwards signals to it."""

    def __init__(self, child: int, signs: int, patience: float) -> None:
        self._child, self._signs, self._patience = child, signs, patience
        self._last, self._seen = time.monotonic(), self._moved()
        self._asked = 0

    def ended(self) -> Ended:
        """Wait for the child to end, kill it if it stalls, and return how it ended."""
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)
        signal.signal(signal.SIGTSTP, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        is_stalled = False
        while not is_stalled:
            left = self._last + self._patience - time.monotonic()
            ready, _, _ = select.select([self._signs], [], [], min(1.0, max(0.0, left)))  # a signal may lower it
            if ready and not os.read(self._signs, 4096):
                break  # the child has closed its end, by exiting
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
        """Return the child's I/O counters, which also show progress: an endless graph neither reads nor writes."""
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
        """Suspend the child and this process on Ctrl-Z; both resume together."""
        os.killpg(self._child, signal.SIGSTOP)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stop)
        self._last = time.monotonic()
        os.killpg(self._child, signal.SIGCONT)
