"""Mutation testing of the readers' checks and of the proofs: the changes of them that no test notices.

python trust/mutations.py [--every N] [--seconds S] [--only GROUP ...] [--matching TEXT] [--again FILE ...]

A group of modules is tested by the tests that mirror it. These are collected once; then a process is forked for each
mutant, in which the function is another, and in which those tests run, quick ones first, that reach the changed lines.
Survivors must be explained in `survivors.txt`. With `--seconds`, groups are tried until so many have passed, each day
another one first. With `--again`, only those are tried that survived in earlier runs, whose outputs are the files.
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
from mutation_groups import BY_NAME, GROUPS, Group

HERE = Path(__file__).parent
ROOT = HERE.parent
EXPLAINED = HERE / "survivors.txt"
PATIENCE = 20.0
"""Seconds of the processor beyond ten times what a mutant's tests take: then it hangs, which is noticed."""
WAITS = 3
"""How many times as long it may take by the clock, on a machine that does other things too."""
BUDGET = 6.0
"""Seconds of tests that a mutant must survive."""
QUICK = 0.1
"""Seconds of a test that comes before all that take longer, whatever module it is of."""
MEMORY = 24 << 30
"""Bytes of addresses that a mutant may take."""
TOLD = os.dup(2)
"""Where a person is told something while the tests are quiet."""


SURVIVED = re.compile(r"  (?:survived|not reached): (?P<file>\S+) (?P<key>.+?) {4}# line \d+$")
"""What is told of a mutant that no test notices."""
Named = set[tuple[str, str]]


class Reached(NamedTuple):
    """What a test did without a mutant: its place, what it took while followed, and the lines that it reached."""

    place: int
    seconds: float
    lines: dict[str, set[int]]


class Tried(NamedTuple):
    """A mutant that was tried: of which file, what it is called, at which line, and what became of it."""

    file: str
    key: str
    line: int
    fate: str


def in_child(act: Callable[[], Any], seconds: float | None = None) -> Any:
    """Return what a function returns in a process of its own; None where that dies, or takes so many seconds."""
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
    """Return what comes until the other end is closed, or nothing where that takes too long.

    Seconds are counted one by one: those in which this process stood still do not count.
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
    """A plugin of pytest that runs the tests that it has collected once for each mutant."""

    def __init__(self, group: Group, every: int, matching: str, among: Named | None = None) -> None:
        """Take a group; one of `every` so many mutants is tried, of those that have a text in their names.

        Where some are named, by their file and what they are called, only those `among` them.
        """
        self._group, self._every, self._matching, self._among = group, every, matching, among
        self.tried: list[Tried] = []

    def pytest_internalerror(self, excrepr: object) -> None:
        """Say what went wrong here."""
        os.write(TOLD, f"{excrepr}\n".encode())

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the tests without a mutant, then with each."""
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
        """Return the mutants that are tried: where they are from, and the how manieth of it each is."""
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
    found = []
    for name in group.modules:
        path = ROOT / "ckpttool" / name
        found += sorted(path.glob("*.py")) if path.is_dir() else [path]
    return [path for path in found if path.name != "__init__.py"]


def _known_functions(paths: set[str]) -> dict[tuple[str, str, int], list[types.FunctionType]]:
    """Return the functions of modules, wherever they are bound, by their file, name and line."""
    known: dict[tuple[str, str, int], list[types.FunctionType]] = {}
    for each in gc.get_objects():
        if type(each) is types.FunctionType and each.__code__.co_filename in paths:
            known.setdefault(_place(each.__code__), []).append(each)
    return known


def _place(code: types.CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _within_budget(session: pytest.Session, tests: list[Reached], module: str) -> Iterator[Reached]:
    """Yield tests until they take as long as they may, at least one: quick ones first, then those of the module."""

    def turn(each: Reached) -> tuple[bool, bool, float]:
        return each.seconds > QUICK, session.items[each.place].path.stem != f"test_{module}", each.seconds

    left = BUDGET
    for each in sorted(tests, key=turn):
        if left > 0:
            yield each
        left -= each.seconds


def _fate(session: pytest.Session, source: Source, number: int, tests: list[Reached], known: dict[Any, Any]) -> str:
    """Say what becomes of a mutant: killed, survived, or not reached by any test."""
    if not tests:
        return "not reached"
    seconds = sum(each.seconds for each in tests)

    def act() -> bool:
        next(itertools.islice(source.mutants(), number, None)).make()
        for code in source.compiled():
            for function in known.get(_place(code), ()):
                function.__code__ = code
        return all(_passes(session.items[each.place]) for each in tests)

    survived = in_child(act, 10 * seconds + PATIENCE)
    return "survived" if survived else "killed"


def _passes(item: pytest.Item) -> bool:
    """Run a test by itself; say whether nothing of it failed."""
    before = item.session.testsfailed
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return item.session.testsfailed == before


def _be_quiet() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _baseline(session: pytest.Session, paths: set[str]) -> Iterator[Reached]:
    """Run each test, and yield which lines those reach that pass; to follow them takes some times as long."""
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
    """Try the mutants of a group, or one of so many, of those that have a text in their names."""
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
    """Return why survivors may survive, by their file and what they are called."""
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
    """Return the mutants that outputs of earlier runs tell of, by their file and what they are called."""
    lines = [SURVIVED.match(line) for path in outputs for line in path.read_text().splitlines()]
    return {(line["file"], line["key"]) for line in lines if line}


def gone(reasons: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return which explanations are of changes that cannot be made any more: the code is another."""
    there: dict[str, set[str]] = {}
    for group in {**GROUPS, **BY_NAME}.values():
        for path in _paths(group):
            name = str(path.relative_to(ROOT / "ckpttool"))
            there.setdefault(name, {mutant.key for mutant in Source(path, name).mutants()})
    return [(file, key) for file, key in reasons if key not in there.get(file, ())]


def in_turn(names: list[str], seconds: float | None) -> Iterator[str]:
    """Yield all names; where there is a bound of time, begin with another one each day, and end when it has passed."""
    start = datetime.datetime.now(datetime.UTC).date().toordinal() % len(names) if seconds else 0
    end = time.monotonic() + (seconds or float("inf"))
    for name in [*names[start:], *names[:start]]:
        if time.monotonic() < end:
            yield name


def main() -> None:
    """Try the mutants, and say which survived without a reason."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="try one of so many mutants")
    parser.add_argument("--seconds", type=float, help="begin no other group after so many")
    parser.add_argument("--only", action="append", help=f"groups: {', '.join({**GROUPS, **BY_NAME})}")
    parser.add_argument("--matching", default="", help="those with this text in their names alone")
    parser.add_argument("--again", type=Path, nargs="+", help="only survivors of earlier runs: their outputs")
    arguments = parser.parse_args()
    reasons, all_tried, names = explained(), [], []
    chosen = arguments.every, arguments.matching, survived(arguments.again) if arguments.again else None
    for name in in_turn(arguments.only or list(GROUPS), arguments.seconds):
        begin = time.monotonic()
        group = in_child(partial(tried, {**GROUPS, **BY_NAME}[name], *chosen))
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
