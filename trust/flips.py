"""Every single-bit flip and every truncation of small files: it is detected, or its bit is known to have no effect.

python trust/flips.py [--every N] [NAME ...]. In formats without checksums a flip may change values: then `verify
--against` must detect it. Each file is read in a child process, with limits on time and memory; its death is noticed.
"""

import argparse
import collections
import hashlib
import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py  # noqa: F401 - what a child imports is not its memory
import kept
import samples
from meanings import meaning

from ckpttool.core.errors import CkptError
from ckpttool.lineage import against

SECONDS, MEGABYTES = 10, 200
"""Bounds for every damaged file."""
Damage = tuple[str, bytes]
Judge = Callable[[], str]


class Subject(NamedTuple):
    """Files to damage, and the function that judges the outcome: `found`, `same`, or what is bad."""

    name: str
    files: list[Path]
    judge: Judge


def flips(data: bytes, every: int) -> Iterator[Damage]:
    """Yield the bytes with each bit flipped."""
    for bit in range(0, 8 * len(data), every):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"byte {bit // 8} bit {bit % 8}", bytes(flipped)


def cuts(data: bytes, every: int) -> Iterator[Damage]:
    """Yield the bytes truncated to each length."""
    for length in range(0, len(data), every):
        yield f"cut to {length}", data[:length]


def subject(name: str, folder: Path) -> Subject:
    """Make a sample in a folder, and return it with its right content."""
    if name in kept.ALL:
        each = kept.ALL[name]
        each.make(folder)
        right = kept.outcome(each, folder)
        assert not right.startswith("refused"), right
        files = sorted(path for path in folder.glob(each.files) if path.is_file() and path.stat().st_size)
        return Subject(name, files, lambda: judged_kept(kept.outcome(each, folder), right))
    path, has = folder / name, name in samples.WITH_CHECKSUMS
    (samples.WITH_CHECKSUMS if has else samples.WITHOUT_CHECKSUMS)[name](path)
    expected = samples.read(path), samples.verified(path)
    assert not expected[1].startswith("refused"), expected
    told = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return Subject(name, files, lambda: judged(path, expected) if has else judged_against(path, expected, told))


def judged_kept(got: str, right: str) -> str:
    """Judge a damaged file of ckpttool's own."""
    return "found" if got.startswith("refused") else "same" if got == right else "other values"


def judged(path: Path, right: tuple[str, str]) -> str:
    """Judge a damaged file with checksums: `verify` detects it, and no other content is read from it."""
    got = samples.read(path), samples.verified(path)
    refused = [each.startswith("refused") for each in got]
    if refused[0] and not refused[1] and got[0] != right[0]:  # variants are copied, not read
        return "whole, it is said, and cannot be read"
    if not refused[0] and got[0] != right[0]:
        return "other values"
    return "found" if refused[1] else "same" if got == right else "said to be other, and whole"


def judged_against(path: Path, right: tuple[str, str], told: str) -> str:
    """Judge a damaged file without checksums: its hash must differ in any case."""
    try:
        if against.difference(path, told) is None:
            return "not found by its hash"
    except (CkptError, OSError):
        return "found"
    got = samples.read(path)
    return (
        "found"
        if got.startswith("refused")
        else "same values"
        if got == right[0]
        else "other values, found by its hash"
    )


def tried(subject: Subject, file: Path, damages: list[Damage]) -> Iterator[tuple[str, str]]:
    """Yield the outcome of each damage; if a child dies, the outcome is bad and another child continues."""
    at = 0
    while at < len(damages):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            _in_child(subject, file, damages[at:], writer)
        os.close(writer)
        with os.fdopen(reader) as answers:
            for line in answers:
                yield damages[at][0], line.strip()
                at += 1
        _, status = os.waitpid(child, 0)
        if at < len(damages):
            yield damages[at][0], f"ended by signal {os.WTERMSIG(status)}"
            at += 1


def _in_child(subject: Subject, file: Path, damages: list[Damage], writer: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    for _, data in damages:
        signal.alarm(60 * SECONDS)  # wall-clock, on machines that do other work too
        file.write_bytes(data)
        Path("/proc/self/clear_refs").write_text("5")
        before, start = _peak(), time.process_time()
        try:
            outcome = subject.judge()
        except BaseException as error:  # noqa: BLE001 - that is what is looked for
            outcome = f"untyped {type(error).__name__}: {' '.join(str(error).split())[:80]}"
        seconds, megabytes = time.process_time() - start, (_peak() - before) / 1024
        if seconds > SECONDS or megabytes > MEGABYTES:
            outcome = f"too much: {seconds:.0f} s, {megabytes:.0f} MB"
        os.write(writer, f"{outcome}\n".encode(errors="replace"))
    os._exit(0)


def _peak() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0])


GOOD = ("found", "same values", "other values, found by its hash")


def attack(subject: Subject, every: int, kind: Callable[[bytes, int], Iterator[Damage]]) -> collections.Counter[str]:
    """Try the flips or the truncations of each file of a sample."""
    counts: collections.Counter[str] = collections.Counter()
    for file in subject.files:
        data = file.read_bytes()
        damages = list(kind(data, every))
        for start in range(0, len(damages), 2000):
            some = dict(damages[start : start + 2000])
            for what, outcome in tried(subject, file, list(some.items())):
                named = f"no meaning: {meaning(file, data, some[what])}" if outcome == "same" else outcome
                counts[named] += 1
                if named not in GOOD and (outcome != "same" or named.endswith("unknown")):
                    counts["bad"] += 1
                    print(f"  bad: {subject.name}, {file.name} {what}: {named}", flush=True)
        file.write_bytes(data)
    return counts


def main() -> None:
    """Run all trials."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1, help="bits, and bytes to cut at")
    names = [*samples.WITH_CHECKSUMS, *kept.ALL, *samples.WITHOUT_CHECKSUMS]
    parser.add_argument("names", nargs="*", default=names)
    asked = parser.parse_args()
    logging.disable()
    figures = []
    for figure, kind in (("truncations", cuts), ("bit flips", flips)):
        total: collections.Counter[str] = collections.Counter()
        for name in asked.names:
            folder = Path(tempfile.mkdtemp(dir=samples.folder()))
            counts = attack(subject(name, folder), asked.every, kind)
            shutil.rmtree(folder)
            total += counts
            print(f"{figure} of {name}: {dict(counts)}", flush=True)
        tries = sum(total.values()) - total["bad"]
        unmeant = sum(count for outcome, count in total.items() if outcome.startswith("no meaning"))
        note = f"{len(asked.names)} kinds of files; {unmeant} of bits from which nothing follows"
        figures.append({"figure": figure, "tried": tries, "bad": total["bad"], "note": note})
    print(json.dumps(figures))
    sys.exit(any(each["bad"] for each in figures))


if __name__ == "__main__":
    main()
