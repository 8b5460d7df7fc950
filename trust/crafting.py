"""Trials of crafted files: each is read in a child process, with its time and memory measured."""

import json
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import samples

from ckpttool.core.errors import CkptError

SECONDS, MEGABYTES = 10, 200
"""Bounds for every file: processor time, and memory beyond what the process had before."""
Files = dict[str, bytes]
Reader = Callable[[Path], str]


class Case(NamedTuple):
    """What is wrong, and the functions that make and read the file; by default it is read as a checkpoint."""

    name: str
    make: Callable[[Path], Path]
    read: Reader | None = None


class Outcome(NamedTuple):
    """The outcome for a file."""

    verdict: str
    seconds: float
    megabytes: float


def attempt(make: Callable[[Path], Path], read: Reader | None = None) -> Outcome:
    """Read and verify a file in a child process, with a time limit."""
    with tempfile.TemporaryDirectory(dir=samples.folder()) as folder:
        path = make(Path(folder))
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            _in_child(path, read or as_checkpoint, writer)
        os.close(writer)
        with os.fdopen(reader) as answers:
            text = answers.read()
        _, status = os.waitpid(child, 0)
    if not text:
        return Outcome(f"bad: ended by signal {os.WTERMSIG(status)}", SECONDS, 0)
    verdict, seconds, megabytes = json.loads(text)
    return Outcome(verdict, seconds, megabytes)


def as_checkpoint(path: Path) -> str:
    """Read and verify a checkpoint."""
    return f"{samples.streamed(path)} / {samples.verified(path)}"


def refusals(read: Callable[[Path], object]) -> Reader:
    """Return a reader that calls `read` and returns a short description of the outcome."""

    def reader(path: Path) -> str:
        try:
            return f"read: {str(read(path))[:60]}"
        except (CkptError, OSError) as error:
            return f"refused: {error}"

    return reader


def _in_child(path: Path, read: Reader, writer: int) -> None:
    """Write the outcome as JSON, and exit."""
    signal.alarm(60 * SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (3 * SECONDS, 3 * SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    before, start = fresh_peak(), time.process_time()
    try:
        verdict = read(path)
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        verdict = f"bad: {type(error).__name__}: {str(error)[:100]}"
    seconds, megabytes = time.process_time() - start, (peak() - before) / 1024
    if seconds > SECONDS or megabytes > MEGABYTES:
        verdict = f"bad: too much; {verdict}"
    os.write(writer, json.dumps([verdict[:4000], seconds, megabytes]).encode())
    os._exit(0)


def fresh_peak() -> int:
    """Reset the peak memory of this process, and return its present memory in kilobytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Return the peak memory of this process in kilobytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0])


def file(name: str, content: bytes | Callable[[], bytes]) -> Callable[[Path], Path]:
    """Return a function that makes one file; content that is slow to make is a function."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content())
        return folder / name

    return make
