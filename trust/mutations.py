"""Mutation testing of the readers' checks and of the proofs: finds the mutants that no test kills.

python trust/mutations.py [--every N] [--seconds S] [--only GROUP ...] [--matching TEXT] [--again FILE ...]

A group of modules is tested by the tests that mirror it. These are collected once; then, for each mutant, a forked
process replaces the function, and runs the tests that reach the changed lines, quick ones first. Survivors must be
explained in `survivors.txt`. With `--seconds`, groups are tested for that time, beginning with another one each day.
With `--again`, only mutants that survived in earlier runs (whose outputs are the files) are tested.
"""

import argparse
import collections
import contextlib
import datetime
import gc
import importlib
import itertools
import json
import math
import os
import pickle
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mutants import Mutant, Source
from mutation_groups import CHECKED, GROUPS, ROOT, Group

HERE = Path(__file__).parent
EXPLAINED = HERE / "survivors.txt"
PATIENCE = 20.0
"""The CPU seconds, in addition to ten times those of a mutant's tests, after which it counts as hanging (killed)."""
WAITS = 3
"""The ratio of wall time to CPU time that is allowed, for busy machines."""
BUDGET = 6.0
"""The time of tests, in seconds, that a mutant must survive."""
QUICK = 0.1
"""The maximum seconds of a quick test, which runs before all slower ones, regardless of its module."""
MEMORY = 24 << 30
"""The address space limit of a mutant in bytes."""
TOLD = os.dup(2)
"""The descriptor for progress while the output of tests is suppressed."""


SURVIVED = re.compile(r"  (?:survived|not reached): (?P<file>\S+) (?P<key>.+?) {4}# line \d+$")
"""The output line for a surviving mutant."""
Named = set[tuple[str, str]]


class Reached(NamedTuple):
    """A test's run without a mutant: its index, its time while traced, and the lines that it reached."""

    place: int
    seconds: float
    lines: dict[str, set[int]]


class Tried(NamedTuple):
    """A tested mutant: its file, key and line, and its fate."""

    file: str
    key: str
    line: int
    fate: str


def in_child(act: Callable[[], Any], seconds: float | None = None) -> Any:
    """Return a function's result in a child process; None if that dies, or exceeds a number of seconds."""
    scratch = tempfile.mkdtemp(prefix="mutant-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.setsid()
        os.close(reading)
        os.environ["PYTEST_DEBUG_TEMPROOT"] = os.environ["TMPDIR"] = scratch
        tempfile.tempdir = None
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if seconds:
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), math.ceil(seconds)))
        try:
            answer = pickle.dumps(act())
            with os.fdopen(writing, "wb") as out:
                out.write(answer)
        except BaseException:  # noqa: BLE001 (told, and the process ends)
            os.write(TOLD, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writing)
    try:
        answer = _read(reading, seconds)
        return pickle.loads(answer) if answer else None  # noqa: S301 (of our own process)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        shutil.rmtree(scratch, ignore_errors=True)


def _read(descriptor: int, seconds: float | None) -> bytes:
    """Return the data until the other end is closed, or nothing after a timeout.

    Seconds are counted one by one, so that those in which this process was stopped do not count.
    """
    parts, left = [], math.inf if seconds is None else WAITS * seconds
    while left > 0:
        if not select.select([descriptor], [], [], 1.0)[0]:
            left -= 1
        elif part := os.read(descriptor, 1 << 16):
            parts.append(part)
        else:
            return b"".join(parts)
    return b""


class Tester:
    """A pytest plugin that runs the collected tests for each mutant."""

    def __init__(self, group: Group, every: int, matching: str, among: Named | None = None) -> None:
        """Set up the tests of every Nth mutant of a group with the text `matching` in its name.

        With `among` (files and keys), only these mutants are tested.
        """
        self._group, self._every, self._matching, self._among = group, every, matching, among
        self.tried: list[Tried] = []

    def pytest_internalerror(self, excrepr: object) -> None:
        """Print an error of pytest."""
        os.write(TOLD, f"{excrepr}\n".encode())

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests without a mutant, then with each one."""
        if session.testsfailed:
            raise RuntimeError("tests cannot be collected")
        chosen = self._chosen()
        paths = {str(source.path) for source, _, _ in chosen}
        followed = in_child(lambda: list(_baseline(session, paths)))
        reached = [each for each in followed if each.seconds <= self._group.slowest]
        known = _known_functions(paths)
        for source, number, mutant in chosen:
            tests = [each for each in reached if not each.lines.get(str(source.path), set()).isdisjoint(mutant.lines)]
            fate = _fate(session, source, number, list(_within_budget(session, tests, source.path.stem)), known)
            self.tried.append(Tried(source.name, mutant.key, mutant.lines[-1], fate))
            if fate != "killed":  # a group takes minutes
                os.write(TOLD, f"  {fate}: {source.name} {mutant.key}    # line {mutant.lines[-1]}\n".encode())
        return True

    def _chosen(self) -> list[tuple[Source, int, Mutant]]:
        """Return the mutants to test, each with its source and its index in it."""
        found = []
        for path in _paths(self._group):
            source = Source(path, str(path.relative_to(ROOT / "ckpttool")))
            for number, mutant in enumerate(source.mutants()):
                in_group = not self._group.functions or mutant.function.startswith(self._group.functions)
                among = self._among is None or (source.name, mutant.key) in self._among
                if in_group and among and self._matching in f"{source.name} {mutant.key}":
                    found.append((source, number, mutant))
        return found[:: self._every]


def _paths(group: Group) -> list[Path]:
    return [ROOT / "ckpttool" / name for name in group.modules]


def _known_functions(paths: set[str]) -> dict[tuple[str, str, int], list[types.FunctionType]]:
    """Return all function objects of modules, by file, name and line."""
    known: dict[tuple[str, str, int], list[types.FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is types.FunctionType and each.__code__.co_filename in paths:
            known.setdefault(_place(each.__code__), []).append(each)
    return known


def _place(code: types.CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _within_budget(session: pytest.Session, tests: list[Reached], module: str) -> Iterator[Reached]:
    """Yield tests within the time budget, but at least one: quick ones first, then those of the module."""

    def turn(each: Reached) -> tuple[bool, bool, float]:
        return each.seconds > QUICK, session.items[each.place].path.stem != f"test_{module}", each.seconds

    left = BUDGET
    for each in sorted(tests, key=turn):
        if left > 0:
            yield each
        left -= each.seconds


def _fate(session: pytest.Session, source: Source, number: int, tests: list[Reached], known: dict[Any, Any]) -> str:
    """Return the fate of a mutant: killed, survived, or not reached by any test."""
    if not tests:
        return "not reached"
    seconds = sum(each.seconds for each in tests)

    def act() -> bool:
        next(itertools.islice(source.mutants(), number, None)).make()
        for code in source.compiled():
            for function in known.get(_place(code), ()):
                function.__code__ = code
        items = [session.items[each.place] for each in tests]
        return all(_passes(item, then) for item, then in itertools.zip_longest(items, items[1:]))

    survived = in_child(act, 10 * seconds + PATIENCE)
    return "survived" if survived else "killed"


def _passes(item: pytest.Item, then: pytest.Item | None = None) -> bool:
    """Run a single test, and return whether it passed; what the test after it (`then`) shares is kept for that."""
    before = item.session.testsfailed
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=then)
    return item.session.testsfailed == before


def _be_quiet() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _baseline(session: pytest.Session, paths: set[str]) -> Iterator[Reached]:
    """Run each test with tracing, which is several times slower, and yield the lines that passing ones reach."""
    for place, item in enumerate(session.items):
        lines: dict[str, set[int]] = {}

        def local(frame: types.FrameType, event: str, _: Any, lines: dict[str, set[int]] = lines) -> Any:
            lines.setdefault(frame.f_code.co_filename, set()).add(frame.f_lineno)
            return local

        def tracer(frame: types.FrameType, event: str, argument: Any, local: Any = local) -> Any:
            return local(frame, event, argument) if frame.f_code.co_filename in paths else None

        begin = time.process_time()
        sys.settrace(tracer)
        threading.settrace(tracer)
        passes = _passes(item)
        sys.settrace(None)
        threading.settrace(None)
        if not passes:
            os.write(TOLD, f"  fails without any mutant: {item.nodeid}\n".encode())
        elif lines:
            yield Reached(place, time.process_time() - begin, lines)


def tried(group: Group, every: int, matching: str, among: Named | None = None) -> list[Tried]:
    """Test every Nth mutant of a group with a text in its name."""
    for name in ("ckpttool.cli", *group.imports):
        importlib.import_module(name)
    for path in _paths(group):
        importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    _be_quiet()
    tester = Tester(group, every, matching, among)
    chosen = [*(str(ROOT / "tests" / name) for name in group.tests), *map(str, _paths(group))]
    outcome = pytest.main(["-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", *chosen], [tester])
    if outcome not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"pytest ended with {outcome!r}")
    return tester.tried


def explained() -> dict[tuple[str, str], str]:
    """Return the explanations of survivors, by file and key."""
    reasons: dict[tuple[str, str], str] = {}
    file, waiting = "", list[str]()
    for line in EXPLAINED.read_text().splitlines() if EXPLAINED.exists() else []:
        if line.startswith("    "):
            reasons |= dict.fromkeys(((file, key) for key in waiting), line.strip())
            waiting = []
        elif line.startswith("  "):
            waiting.append(line.strip())
        elif line and not line.startswith("#"):
            file = line.strip()
    return reasons


def survived(outputs: Iterable[Path]) -> Named:
    """Return the survivors in outputs of earlier runs, by file and key."""
    lines = [SURVIVED.match(line) for path in outputs for line in path.read_text().splitlines()]
    return {(line["file"], line["key"]) for line in lines if line}


def gone(reasons: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the explanations of mutants that no longer exist, because the code has changed."""
    paths = {str(path.relative_to(ROOT / "ckpttool")): path for group in GROUPS.values() for path in _paths(group)}
    there: dict[str, set[str]] = {}
    for file in {file for file, _ in reasons} & paths.keys():
        there[file] = {mutant.key for mutant in Source(paths[file], file).mutants()}
    return [(file, key) for file, key in reasons if key not in there.get(file, ())]


def in_turn(names: list[str], seconds: float | None) -> Iterator[str]:
    """Yield all names; with a time limit, begin with another one each day, and stop when it has passed."""
    start = datetime.datetime.now(datetime.UTC).date().toordinal() % len(names) if seconds else 0
    end = time.monotonic() + (seconds or float("inf"))
    for name in [*names[start:], *names[:start]]:
        if time.monotonic() < end:
            yield name


def main() -> None:
    """Test the mutants, and print those that survived without an explanation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="try one of so many mutants")
    parser.add_argument("--seconds", type=float, help="begin no other group after so many")
    parser.add_argument("--only", action="append", help=f"groups: {', '.join(GROUPS)}")
    parser.add_argument("--matching", default="", help="those with this text in their names alone")
    parser.add_argument("--again", type=Path, nargs="+", help="only survivors of earlier runs: their outputs")
    arguments = parser.parse_args()
    reasons, all_tried, names = explained(), [], []
    chosen = arguments.every, arguments.matching, survived(arguments.again) if arguments.again else None
    for name in in_turn(arguments.only or list(CHECKED), arguments.seconds):
        begin = time.monotonic()
        group = in_child(partial(tried, GROUPS[name], *chosen))
        if group is None:
            raise SystemExit(f"{name}: it ended early")
        all_tried += group
        names.append(name)
        for file in dict.fromkeys(each.file for each in group):
            fates = collections.Counter(each.fate for each in group if each.file == file)
            print(f"{file}: {', '.join(f'{count} {fate}' for fate, count in sorted(fates.items()))}")
        print(f"  {name}: {time.monotonic() - begin:.0f} s", flush=True)
    survivors = [each for each in all_tried if each.fate != "killed"]
    unexplained = [each for each in survivors if (each.file, each.key) not in reasons]
    for file in dict.fromkeys(each.file for each in unexplained):
        print(file)
        for each in unexplained:
            if each.file == file:
                print(f"  {each.key}{'' if each.fate == 'survived' else ' NOT REACHED'}    # line {each.line}")
    for file, key in sorted((chosen[2] or set()) - {(each.file, each.key) for each in all_tried}):
        print(f"{file}: not tried again, it is no change any more: {key}")
    stale = gone(reasons)
    for file, key in stale:
        print(f"{file}: explained, but no change any more: {key}")
    bad = len(unexplained) + len(stale)
    note = (
        f"{len(all_tried) - len(survivors)} killed, {len(survivors) - len(unexplained)} survive with a reason, "
        f"{len(unexplained)} without; of {', '.join(names)}"
    )
    print(json.dumps({"figure": "changed checks and proofs", "tried": len(all_tried), "bad": bad, "note": note}))
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
