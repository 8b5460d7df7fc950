"""Crafted files: each claims, hides, nests or repeats something. What becomes of them, in which time and memory.

Run as: python trust/crafted.py [PART OF A NAME ...]
"""

import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import samples

SECONDS, MEGABYTES = 10, 200
"""What no file may take: of the processor, and of memory beyond what the process had before."""
Files = dict[str, bytes]
Case = tuple[str, Callable[[Path], Path]]


class Outcome(NamedTuple):
    """What became of a file."""

    verdict: str
    seconds: float
    megabytes: float


def attempt(make: Callable[[Path], Path]) -> Outcome:
    """Read and verify a file in a child of this process, which ends after a time."""
    with tempfile.TemporaryDirectory(dir=samples.folder()) as folder:
        path = make(Path(folder))
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            _in_child(path, writer)
        os.close(writer)
        with os.fdopen(reader) as answers:
            text = answers.read()
        _, status = os.waitpid(child, 0)
    if not text:
        return Outcome(f"bad: ended by signal {os.WTERMSIG(status)}", SECONDS, 0)
    verdict, seconds, megabytes = json.loads(text)
    return Outcome(verdict, seconds, megabytes)


def _in_child(path: Path, writer: int) -> None:
    """Write what happened, as JSON, and end."""
    signal.alarm(60 * SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (3 * SECONDS, 3 * SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _peak(), time.process_time()
    try:
        verdict = f"{samples.streamed(path)} / {samples.verified(path)}"
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        verdict = f"bad: {type(error).__name__}: {str(error)[:100]}"
    seconds, megabytes = time.process_time() - start, (_peak() - before) / 1024
    if seconds > SECONDS or megabytes > MEGABYTES:
        verdict = f"bad: too much; {verdict}"
    os.write(writer, json.dumps([verdict[:4000], seconds, megabytes]).encode())
    os._exit(0)


def _peak() -> int:
    """Return the most memory that this process has had, in kilobytes."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0])


def file(name: str, content: Callable[[], bytes]) -> Callable[[Path], Path]:
    """Return what makes one file."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content())
        return folder / name

    return make


def crafted() -> Iterator[Case]:
    """Yield all cases: what is wrong, and what makes the file."""
    import crafted_bundles
    import crafted_hdf5
    import crafted_others
    import crafted_zips

    for module in (crafted_bundles, crafted_hdf5, crafted_zips, crafted_others):
        yield from module.cases()


def main() -> None:
    """Try all, and print a row for each and the sums."""
    import h5py  # noqa: F401 - what the child imports is not counted

    from ckpttool.formats import registry

    list(registry.every())
    wanted, tried, bad, worst = sys.argv[1:], 0, 0, [0.0, 0.0]
    for name, make in crafted():
        if wanted and not any(part in name for part in wanted):
            continue
        outcome = attempt(make)
        tried, bad = tried + 1, bad + outcome.verdict.startswith("bad")
        worst = [max(worst[0], outcome.seconds), max(worst[1], outcome.megabytes)]
        print(f"{name:60} {outcome.seconds:6.2f} s {outcome.megabytes:7.1f} MB  {outcome.verdict[:150]}", flush=True)
    print(f"crafted files: {tried} tried, {bad} bad; at most {worst[0]:.1f} s and {worst[1]:.0f} MB")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
