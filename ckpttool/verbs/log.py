"""Log: the lineage of an output, whether its sources have changed, and the report of its run."""

import glob
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, FormatError, MissingFile
from ckpttool.core.plain_files import is_file
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats import registry
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.formats.wire import checked_json
from ckpttool.graph.contents.kept import kept_facts
from ckpttool.lineage.derivation import Steps, letters
from ckpttool.lineage.output import path_beside
from ckpttool.lineage.records import GRAPH, Chain, Source
from ckpttool.lineage.replaying import Begin, replayed
from ckpttool.lineage.storage import lineage_of
from ckpttool.model.resolve import graph_path, graph_that_keeps
from ckpttool.plans.script import PLACE
from ckpttool.plans.writing import written
from ckpttool.remote import sparse_files
from ckpttool.remote.paths import is_url
from ckpttool.training.run_report import report_beside


@dataclass(frozen=True)
class History:
    """The lineage of an output, the report of its run, if any, and the stored facts about its rows."""

    path: Path
    chain: Chain
    run: Mapping[str, Any] | None
    facts: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path) -> "History":
        """Read the history of a checkpoint, or of a graph that was written without one.

        Raises:
            MissingFile: the path does not exist.
            FormatError: it is not a checkpoint, or the lineage or report beside it is invalid.
        """
        try:
            metadata = registry.find(path).open(path).metadata
        except (FormatError, MissingFile):
            if not (is_file(path) and is_file(path_beside(path))):
                raise
            metadata = {}  # a graph alone is not a checkpoint and has no metadata
        return cls(path, lineage_of(path, metadata), _read_report(report_beside(path)), _facts(path))

    def __bool__(self) -> bool:
        return bool(self.chain.records or self.run)

    def as_json(self) -> dict[str, Any]:
        """Return the fields for JSON; each source has `now`: unchanged, changed since, or gone."""
        chain = self.chain.as_json()
        for record, row in zip(self.chain.records, chain["records"], strict=True):
            for source, facts in zip(record.sources, row["sources"], strict=True):
                facts["now"] = source.now(self.path.parent)
        return {**chain, "run": self.run, **({"facts": list(self.facts)} if self.facts else {})}

    def plan(self) -> dict[str, Any]:
        """Return the plan that reproduces the output with `apply`, with the hashes of its sources.

        Its last step asserts the number of tensors of the output.

        Raises:
            PlanError: a command is not a step of a plan; the message names it.
        """
        steps, tensors = self._steps(), checkpoint.open(self.path)
        count = {"assert": ".*", "slots": True, "count": len(tensors) - (OBJECT_GRAPH in tensors)}
        sources = {name: _as_source(begin.source, self.path.parent) for name, begin in _named(steps).items()}
        braces = {name: f"{{{name}}}" for name in _in_braces(steps.tables)}  # which a pattern has, and mean no variable
        return {"variables": braces, "sources": sources, "step": [*steps.tables, count]}

    def plan_lines(self, *notes: str) -> Iterator[str]:
        """Yield the plan as TOML, after notes about it and its sources.

        Raises:
            PlanError: a command is not a step of a plan; the message names it.
        """
        about = {name: list(_about(begin, self.path.parent)) for name, begin in _named(self._steps()).items()}
        notes = (*notes, *(f"reads {source.path} too, {source.hash}" for source in self._read_besides()))
        yield from written(self.plan(), {"": notes, **about})

    @property
    def leaves_graph(self) -> bool:
        """Whether the last command did not write a graph that is beside its source, and that a plan would write."""
        sources = self.chain.records[-1].sources if self.chain.records else ()
        there = any(graph_path(prefix_of(Path(source.path))) for source in sources)
        return there and not any(source.format == GRAPH for source in sources)

    def _read_besides(self) -> Iterator[Source]:
        """Yield the files that steps read by the paths in their texts: adapters."""
        for record in self.chain.records:
            if plan := record.plan:
                besides = (source for place, source in enumerate(record.sources) if place not in plan["sources"])
                yield from (source for source in besides if source.format != GRAPH)

    def _steps(self) -> Steps:
        try:
            return replayed(self.chain)
        except CkptError as error:
            raise type(error)(f"{self.path}: {error}") from error

    def lines(self) -> Iterator[str]:
        """Yield lines of text, oldest first."""
        prefix = prefix_of(self.path)
        if not self:
            beside = path_beside(prefix)
            stale = f"; {beside} is of what was there before" if is_file(beside) else ""
            yield f"{self.path}: no history{stale}"
        if self.chain.left_out:
            yield f"{counted(self.chain.left_out, 'older record was', 'older records were')} omitted"
        for record in self.chain.records:
            yield f"{record.date}  {shlex.join(['ckpttool', record.command, *record.arguments])}"
            for source in record.sources:
                now = source.now(self.path.parent)
                hashed = ", ".join(source.files) or "its name"
                line = f"    from {source.path} ({source.format}, {source.hash} of {hashed})"
                yield line if now == "unchanged" else f"{line}, {now}"
            yield from (f"    {step}" for step in record.steps)
            yield f"    with {', '.join(f'{name} {version}' for name, version in record.versions.items())}"
        yield from self.facts
        if self.run:
            data = self.run["data"]
            rows = data.get("path") if isinstance(data, Mapping) else data
            epoch = f", best epoch {self.run['best_epoch']}" if self.run["best_epoch"] else ""
            yield f"run: {report_beside(self.path)}: {self.run['model'] or 'new layers'} trained on {rows}{epoch}"


def _named(steps: Steps) -> dict[str, Begin]:
    """Return the sources of a plan by their names in it."""
    return {letters(number): begin for number, begin in enumerate(steps.files)}


def _in_braces(value: Any) -> set[str]:
    """Return the names in braces in the texts of steps."""
    if isinstance(value, str):
        return set(PLACE.findall(value))
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return set().union(*map(_in_braces, parts))


def _as_source(source: Source, beside: Path) -> dict[str, str]:
    """Return a source in a plan: its current path, and the hash of its file."""
    path, files = source.path, f"{glob.escape(Path(source.path).name)}*"
    if not is_url(path) and not any(Path(path).parent.glob(files)) and any(beside.glob(files)):
        path = str(beside / Path(path).name)
    return {"path": path, **({"sha256": source.hash.removeprefix("sha256:")} if source.files else {})}


def _about(begin: Begin, beside: Path) -> Iterator[str]:
    """Yield notes about a source of a plan."""
    if (now := begin.source.now(beside)) != "unchanged":
        yield f"{now}: {begin.source.path}"
    if begin.made_by:
        yield f"made by {begin.made_by}, which is not a step of a plan"


def _facts(path: Path) -> tuple[str, ...]:
    """Return the facts about rows stored in a model's graph, or why they are unknown; empty without a graph."""
    try:
        graph = graph_that_keeps(path)
    except CkptError as error:
        return (f"what the graph keeps of its rows is not known: {error}",)
    return tuple(kept_facts(graph)) if graph else ()


def _read_report(path: Path) -> Mapping[str, Any] | None:
    """Return what a run's report says about the source of its weights."""
    if not sparse_files.is_there(path):
        return None
    raw = sparse_files.read_bytes(path)
    try:
        report = checked_json.loads(raw, is_required=False)
        return {key: report.get(key) for key in ("model", "data", "options", "best_epoch", "versions")}
    except (ValueError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: not a run report (not JSON): {error}") from error
