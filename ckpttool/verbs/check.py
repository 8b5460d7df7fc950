"""Check: all gates in one, cheap ones first: intact and harmless files, unchanged layers, scores on rows.

If the files are damaged or may have side effects, the graph is not run, and gates that need it are skipped.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ckpttool import checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.core.shown_text import visible
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.scanning.finding import Severity
from ckpttool.surgery.verify import unchanged
from ckpttool.training.gates import Bounds, Gate
from ckpttool.verbs.evaluate import Evaluation
from ckpttool.verbs.scan import scan
from ckpttool.verbs.verify import verdict

Judge = Callable[[], tuple[Evaluation, Evaluation | None]]
"""A function that evaluates the model, and the baseline if there is one."""


@dataclass(frozen=True)
class Checked:
    """The gates of a model, in the order of checking."""

    model: Path
    gates: tuple[Gate, ...]

    @property
    def holds(self) -> bool:
        """Whether all passed."""
        return all(gate.state == "passed" for gate in self.gates)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"model": str(self.model), "holds": self.holds, "gates": [gate.as_json() for gate in self.gates]}

    def summary(self) -> str:
        """Return the result as one line of text."""
        states = [f"{count} {state}" for state in ("passed", "failed", "skipped") if (count := self._count(state))]
        return f"{self.model}: {', '.join(states)}"

    def junit(self) -> bytes:
        """Return the gates as a JUnit file, with a test case for each."""
        name = visible(str(self.model))
        counts = {"failures": str(self._count("failed")), "skipped": str(self._count("skipped")), "errors": "0"}
        seconds = f"{sum(gate.seconds for gate in self.gates):.3f}"
        suites = ElementTree.Element("testsuites")
        facts = {"name": f"ckpttool check {name}", "tests": str(len(self.gates)), "time": seconds}
        suite = ElementTree.SubElement(suites, "testsuite", facts | counts)
        for gate in self.gates:
            case = {"classname": name, "name": visible(gate.name), "time": f"{gate.seconds:.3f}"}
            one = ElementTree.SubElement(suite, "testcase", case)
            if gate.state != "passed":
                ElementTree.SubElement(one, {"failed": "failure"}.get(gate.state, gate.state), message=_text(gate))
        ElementTree.indent(suites)
        text: bytes = ElementTree.tostring(suites, "utf-8", xml_declaration=True)
        return text + b"\n"

    def markdown(self) -> str:
        """Return the gates as a Markdown table, for the summary of a CI job."""
        cells = [[*map(_cell, (gate.name, gate.asked, gate.found)), gate.state] for gate in self.gates]
        rows = [f"| {' | '.join(row)} |" for row in cells]
        head = ["| gate | required | found | |", "| --- | --- | --- | --- |"]
        return "\n".join([f"### {_cell(self.summary())}", "", *head, *rows, "", ""])

    def _count(self, state: str) -> int:
        return sum(gate.state == state for gate in self.gates)


def check(
    model: Path,
    same: Sequence[tuple[str, Path]] = (),
    bounds: Bounds | None = None,
    judge: Judge | None = None,
    severity: Severity = "high",
    tags: Collection[str] | None = None,
) -> Checked:
    """Check all gates of a model.

    Args:
        model: A checkpoint, a graph, or both.
        same: Patterns, each with another checkpoint in which the matched tensors must have the same bytes.
        bounds: The bounds of its scores.
        judge: The function that evaluates it and the baseline; called only if no earlier gate failed.
        severity: The minimum severity of a finding of `scan` that fails the gate.
        tags: The tags of the graph in a SavedModel with several.

    Raises:
        MissingFile: the path does not exist.
        UnknownName: a pattern matches nothing.
        PlanError: there are bounds but no rows, or rows but no bounds.
    """
    if bool(bounds) != (judge is not None):
        raise PlanError("`min_accuracy`, `max_loss` and `max_drop` require `data`, and `data` requires one of them")
    gates = [
        *_timed(_whole(model, tags)),
        *_timed(_harmless(model, severity)),
        *(gate for pattern, other in same for gate in _timed(_same(model, pattern, other))),
    ]
    if bounds and judge:
        stopped = [gate.name for gate in gates if gate.state == "failed" and gate.name in ("verify", "scan")]
        gates += _skipped(bounds, stopped[0]) if stopped else _timed(_scores(bounds, judge))
    return Checked(model, tuple(gates))


def write_junit(checked: Checked, path: Path, overwrite: bool = False) -> None:
    """Write the gates as a JUnit file.

    Raises:
        ExistingOutput: the file exists and `overwrite` is not set.
    """
    refuse_existing([path], overwrite)
    with replacing(path) as file:
        file.write(checked.junit())


def append_summary(checked: Checked, path: Path) -> None:
    """Append the gates to the summary of a CI job, to which other steps append too."""
    with path.open("a", encoding="utf-8") as file:
        file.write(checked.markdown())


def _timed(gates: Iterable[Gate]) -> Iterator[Gate]:
    """Yield gates with the seconds that each took."""
    began = time.monotonic()
    for gate in gates:
        yield replace(gate, seconds=time.monotonic() - began)
        began = time.monotonic()


def _whole(model: Path, tags: Collection[str] | None) -> Iterator[Gate]:
    found = verdict(model, tags=tags)
    damaged = listed([f"{row['name']} ({row['problem']})" for row in found.rows])
    yield _gate("verify", "whole files", damaged or f"{counted(found.tensors, 'tensor')}, all whole", found.holds)


def _harmless(model: Path, severity: Severity) -> Iterator[Gate]:
    found = scan([model], severity)
    told = listed([f"{each.what} in {each.where}" for each in found.found])
    unread = listed([f"{each.file} cannot be read" for each in found.unread])
    acts = "; ".join(text for text in (told, unread) if text)
    holds = not found.found and not found.unread
    yield _gate("scan", f"no findings ({severity})", acts or "nothing", holds)


def _same(model: Path, pattern: str, other: Path) -> Iterator[Gate]:
    found = unchanged(checkpoint.open(other), checkpoint.open(model), pattern)
    changed = listed([item.name for item in found.changed])
    text = f"changed: {changed}" if changed else f"{counted(len(found.same), 'tensor')} unchanged"
    yield _gate(f"unchanged {pattern}", f"the bytes of {other}", text, found.holds)


def _scores(bounds: Bounds, judge: Judge) -> Iterator[Gate]:
    found, before = judge()
    yield from bounds.gates(found, before, found.tally.no_accuracy or "")


def _skipped(bounds: Bounds, stopped: str) -> list[Gate]:
    asked = {"min-accuracy": bounds.min_accuracy, "max-loss": bounds.max_loss, "max-drop": bounds.max_drop}
    return [
        Gate(name, f"{value:.6g}", f"not run, for {stopped} failed", "skipped")
        for name, value in asked.items()
        if value is not None
    ]


def _gate(name: str, asked: str, found: str, holds: bool) -> Gate:
    return Gate(name, asked, found, "passed" if holds else "failed")


def _text(gate: Gate) -> str:
    return visible(f"{gate.found}, required {gate.asked}")


def _cell(text: str) -> str:
    """Return a text as a Markdown table cell, with markup escaped."""
    return visible(text).replace("|", "\\|").replace("<", "&lt;").replace("`", "'")
