"""Kills, full disks, broken disks and short writes at every file-system call of every command that writes.

Each trial is a fork: the command is run with one fault at one call, without or with an old output. Then the output is
read normally: it must be the old output or the new one; anything else counts as lost or mixed. The command is run once
more: it must not be refused, and nothing but its output may be left.

    python trust/kills.py [--every N] [--tensorflow] [COMMAND ...]
"""

import argparse
import contextlib
import gc
import hashlib
import importlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from attacked_commands import CASES, WITH_TENSORFLOW, Case, make_inputs, run, show
from faults import IN_WRITES, KINDS, WRITES, Faults, in_child

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, MissingFile
from ckpttool.formats.patch.file import PatchFile
from ckpttool.graph import files
from ckpttool.lineage.storage import lineage_of
from ckpttool.runtime.configure import configure_tensorflow
from ckpttool.training.run_report import report_path

State = dict[str, Any]


def state_of(output: str) -> State:
    """Return all readable state of an output: values, graph, lineage, the latest checkpoint.

    Missing parts are None; for parts that cannot be read, the error is returned.
    """

    def said(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except MissingFile:
            return None
        except CkptError as error:
            return f"{type(error).__name__}: {error}"

    def values() -> list[str]:
        opened = checkpoint.open(output)
        return [f"{name} {hashlib.md5(tensor.read().tobytes()).hexdigest()}" for name, tensor in opened.items()]

    def graph() -> str:
        return hashlib.md5(files.load(output).meta.SerializeToString(deterministic=True)).hexdigest()

    def lineage() -> list[list[str]] | None:
        try:
            texts = checkpoint.open(output).provenance.files[0].chain
        except CkptError:
            texts = lineage_of(Path(output), {})
        return [[record.command, *record.arguments] for record in texts.records] or None

    def patch() -> list[str]:
        found = PatchFile(Path(output))
        found.require_whole()
        return [found.patch.base_hash, found.patch.hash]

    def page() -> str | None:
        return hashlib.md5(Path(output).read_bytes()).hexdigest() if Path(output).exists() else None

    is_graph = output.endswith((".pb", ".meta"))
    reads: dict[str, Callable[[], object]] = {"graph": graph} if is_graph else {"values": values}
    reads["lineage"] = lineage
    if output.endswith(".patch"):
        reads = {"patch": patch}
    if output.endswith(".html"):
        reads = {"page": page}
    if output.endswith(".ckpt") or output == "out":
        reads["graph"] = graph
    state = {name: said(read) for name, read in reads.items()}
    # Opening the checkpoint has finished the moves of a command that was killed after it had committed.
    for what, path in (("latest", Path("checkpoint")), ("tokens", Path(f"{output}.vocab.json"))):
        state[what] = said(path.read_text) if path.exists() else None
    report = report_path(output)
    state["report"] = said(lambda: json.loads(report.read_bytes())["best_epoch"]) if report.exists() else None
    return state


class Trials:
    """The trials of one case, in a separate folder."""

    def __init__(self, case: Case, inputs: Path, over: bool) -> None:
        """Create the folder, with an old output if `over`, and determine the states before and after."""
        self.case, self.over = case, over
        self.start = Path(tempfile.mkdtemp(dir=inputs.parent))
        self._noted = inputs.parent / "state"
        os.environ["XDG_STATE_HOME"] = str(self._noted)  # the state folder with known graphs
        shutil.copytree(inputs, self.start, dirs_exist_ok=True)
        self.work = Path(f"{self.start}.work")
        if over:
            self._must([*case.old, "-o", case.output], self.start)
        self.before = self._read(self.start)
        self.fresh()
        self.calls = self._must(case.argv(over), self.work)
        """The names of the command's calls."""
        self.after = self._read(self.work)
        self.names = _names(self.work)
        if self.before == self.after or not any(self.after.values()):
            raise SystemExit(f"{case.name}: nothing to tell the outputs apart by: {self.after}")

    def trial(self, number: int, kind: str) -> Iterator[str]:
        """Run the command with a fault, and yield the problems that follow."""
        self.fresh()

        def work() -> int:
            os.chdir(self.work)
            with Faults(number, kind).active() as faults:
                code, said = run(self.case.argv(self.over))
            if "Traceback" in said:
                return 77
            return 0 if faults.met else 88 if code == 0 else 66

        ended = in_child(work)
        if ended in (66, 77):
            yield "untyped" if ended == 77 else "failed"
        yield from self.judged()

    def judged(self) -> Iterator[str]:
        """Read the state, run the command again, and yield the problems of either."""
        there = self._read(self.work)
        if there not in (self.before, self.after):
            yield "lost" if not any(there.values()) or any(": " in str(each) for each in there.values()) else "mixed"
        code, said, then = self._run_and_read(self.case.argv(self.over), self.work)
        complete = there == self.after and not self.over
        if code and not (complete and "exists already" in said):
            yield "refused"
        if then != self.after:
            yield "lost"
        if _names(self.work) != self.names:
            yield "left"

    def close(self) -> None:
        """Remove the folders."""
        shutil.rmtree(self.start, ignore_errors=True)
        shutil.rmtree(self.work, ignore_errors=True)

    def fresh(self) -> None:
        """Restore the folder and the state folder from before the command."""
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.rmtree(self._noted, ignore_errors=True)
        shutil.copytree(self.start, self.work)

    def _must(self, argv: list[str], folder: Path) -> list[str]:
        calls: list[str] = []

        def counted() -> tuple[int, str, list[str]]:
            with Faults(seen=calls.append).active():
                return *run(argv), calls

        code, said, named = _answer(folder, counted)
        if code:
            raise SystemExit(f"ckpttool {' '.join(argv)}: {said}")
        return list(named)

    def _run_and_read(self, argv: list[str], folder: Path) -> tuple[int, str, State]:
        code, said, state = _answer(folder, lambda: (*run(argv), state_of(self.case.output)))
        return code, said, state

    def _read(self, folder: Path) -> State:
        state: State = _answer(folder, lambda: state_of(self.case.output))
        return state


def _answer(folder: Path, question: Callable[[], Any]) -> Any:
    """Return the result of a function that a child process calls in a folder."""
    answer = folder.parent / f"{folder.name}.answer"
    answer.unlink(missing_ok=True)

    def work() -> int:
        os.chdir(folder)
        answer.write_text(json.dumps(question()))
        return 0

    ended = in_child(work)
    if ended:
        raise SystemExit(f"{folder}: the child that asked ended with {ended}")
    return json.loads(answer.read_text())


def _names(folder: Path) -> list[str]:
    """Return the names of all files in a folder, without the counts of shards, and the number of different counts."""
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    counts = {re.sub(r"-\d+-of-", "-of-", name) for name in names if "-of-" in name}
    plain = {re.sub(r"-\d+-of-\d+", "-of", name) for name in names}
    return [*sorted(plain), f"{len(counts)} kinds of shards"]


class Grid:
    """Every Nth point of the grid of all cases, so that a sample contains calls from all parts of a run."""

    def __init__(self, kinds: list[str], every: int) -> None:
        """Set the kinds of faults."""
        self._kinds, self._every, self._passed = kinds, every, 0

    def points(self, calls: list[str]) -> list[tuple[str, int]]:
        """Return the points of the next case, given its calls: kinds of faults, with numbers of calls."""
        every = [
            (kind, number)
            for kind in self._kinds
            for number, name in enumerate(calls, 1)
            if kind not in IN_WRITES or name in WRITES
        ]
        first = -self._passed % self._every
        self._passed += len(every)
        return every[first :: self._every]


def attacked(case: Case, inputs: Path, over: bool, grid: Grid, is_told: bool) -> tuple[Counter[str], int]:
    """Run a case with its faults, print a line, and return the counts of problems, and the number of trials."""
    found = Counter[str]()
    trials = Trials(case, inputs, over)
    calls, points = trials.calls, grid.points(trials.calls)
    for kind, number in points:
        problems = list(trials.trial(number, kind))
        found.update(problems)
        if problems and is_told:
            show(f"  {kind} at {number}: {', '.join(problems)}")
    trials.close()
    others = sum(found[key] for key in found if key not in ("lost", "mixed", "left", "refused"))
    figures = f"{found['lost']:5} {found['mixed']:5} {found['left']:5} {found['refused']:7} {others:5}"
    show(f"{case.name:42} {'over' if over else 'fresh':5} {len(calls):5} {len(points):6} {figures}")
    return found, len(points)


def import_what_is_used(cases: list[Case], inputs: Path, with_tensorflow: bool) -> None:
    """Run cases, import in this process the modules that its children will need, and remove the outputs.

    A process that has run TensorFlow cannot be forked, but one that has imported it can, so these cases run in a child.
    """
    before = {*inputs.iterdir()}

    def imported(case: Case) -> list[str]:
        known = {*sys.modules}
        run([*case.arguments, "-o", f"warm-{case.output}"])
        state_of(f"warm-{case.output}")
        return [name for name in sys.modules if name not in known]

    if with_tensorflow:
        configure_tensorflow()
    for each in cases:
        for name in _answer(inputs, partial(imported, each)) if with_tensorflow else imported(each):
            with contextlib.suppress(ImportError):  # a name that is not a real module
                importlib.import_module(name)
    for path in {*inputs.iterdir()} - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def main_() -> int:
    """Run the trials, print a table, and return whether anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("only", nargs="*", help="cases whose names contain one of these")
    parser.add_argument("--every", type=int, default=1, help="every Nth point, to be quick")
    parser.add_argument("--tensorflow", action="store_true", help="the commands that run graphs, in place of others")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    bad, trials, begin = Counter[str](), 0, time.monotonic()
    cases = WITH_TENSORFLOW if options.tensorflow else CASES
    with tempfile.TemporaryDirectory(dir=place) as folder:
        inputs = Path(folder, "inputs")
        inputs.mkdir()
        make_inputs(inputs)
        import_what_is_used(cases, inputs, options.tensorflow)
        gc.freeze()
        chosen = [each for each in cases if not options.only or any(word in each.name for word in options.only)]
        show(f"{'command':42} {'over':5} calls trials  lost mixed  left refused other")
        grid = Grid(options.kinds.split(","), options.every)
        for each, over in product(chosen, (False, True)):
            found, count = attacked(each, inputs, over, grid, options.verbose)
            bad, trials = bad + found, trials + count
    note = f"{dict(bad) or 'nothing lost, mixed, left or refused'}"
    show(f"{trials} trials in {time.monotonic() - begin:.0f} s: {note}")
    which = "commands that run graphs" if options.tensorflow else "commands that write"
    figure = {"figure": f"faults at file-system calls, {which}", "tried": trials, "bad": bad.total(), "note": note}
    show(json.dumps(figure))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main_())
