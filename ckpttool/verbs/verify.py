"""Verify: check the checksums and format rules of a checkpoint, and the graph beside it."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.catalogue.names import is_entry
from ckpttool.checkpoint import prefix_of
from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError, GraphError, PlanError
from ckpttool.core.names import listed
from ckpttool.graph.core import Graph
from ckpttool.lineage.against import difference, hash_of_entry
from ckpttool.model.resolve import graph_beside, open_either
from ckpttool.surgery import verify as checkpoints


@dataclass(frozen=True)
class Verdict:
    """The result: what was checked, what is damaged, which tensors changed (if compared), and what is not a tensor."""

    path: Path
    format: str
    tensors: int
    nbytes: int
    ops: int
    damaged: tuple[checkpoints.Damage, ...]
    compared: checkpoints.Unchanged | None = None
    left_out: tuple[str, ...] = ()
    checksums: bool = True
    against: str | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged

    @property
    def holds(self) -> bool:
        """Whether every check passed."""
        return not self.damaged and (self.compared is None or self.compared.holds)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The faults by tensor."""
        changed = self.compared.changed if self.compared else ()
        return [{"name": item.name, "problem": item.why} for item in (*self.damaged, *changed)]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        compared = self.compared
        return {
            "path": str(self.path),
            "format": self.format,
            "tensors": self.tensors,
            "bytes": self.nbytes,
            "ops": self.ops,
            "whole": not self.damaged,
            "checksums": self.checksums,
            "against": self.against,
            "damaged": [{"name": item.name, "problem": item.why} for item in self.damaged],
            "left_out": list(self.left_out),
            "unchanged": list(compared.same) if compared else None,
            "changed": [{"name": item.name, "problem": item.why} for item in compared.changed] if compared else None,
        }

    def summary(self) -> str:
        """Return the verdict as one line of text."""
        tensors = f"{counted(self.tensors, 'tensor')} ({counted(self.nbytes, 'byte')})"
        checked = [tensors] if self.format != "graph" else []
        checked += [f"a graph of {counted(self.ops, 'op')}"] if self.ops else []
        result = f"{len(self.damaged)} damaged" if self.damaged else "whole"
        compared = self.compared
        same = f"; {len(compared.same)} unchanged, {len(compared.changed)} changed" if compared else ""
        entries = counted(len(self.left_out), "entry", "entries")
        left_out = f"; {entries} skipped: {listed(self.left_out)}" if self.left_out else ""
        told = f", and matches {self.against}" if self.against and not self.damaged else ""
        unsure = not self.checksums and not self.against and self.format != "graph"
        hint = (
            "; the format has no checksums, so only its structure was checked: `against` a hash checks its bytes"
            if unsure
            else ""
        )
        return f"{self.path}: {' and '.join(checked)} checked: {result}{told}{same}{left_out}{hint}"


def verdict(
    path: Path,
    same: tuple[str, Path] | None = None,
    tags: Collection[str] | None = None,
    against: str | None = None,
) -> Verdict:
    """Check a checkpoint and the graph beside it, or a graph alone.

    Args:
        path: A checkpoint or a graph.
        same: A pattern and another checkpoint; the matched tensors must have the same bytes in both.
        tags: The tags of the graph in a SavedModel with several.
        against: A SHA-256 hash, a lineage file, or `zoo:NAME`, whose hash the file must have.

    Raises:
        MissingFile: the path does not exist.
        FormatError: the file is neither a checkpoint nor a graph.
        UnknownName: the pattern matches nothing.
        PlanError: tensors should be compared, but there is only a graph.
    """
    compared: checkpoints.Unchanged | None = None
    left_out: tuple[str, ...] = ()
    try:
        opened = open_either(path, tags)
    except CorruptCheckpoint:
        pass  # the check names what is damaged
    else:
        if isinstance(opened, Graph):
            return _of_graph(path, opened, same is not None, against)
        left_out = opened.left_out
        if same is not None:
            compared = checkpoints.unchanged(checkpoint.open(same[1]), opened, same[0])
    report = checkpoints.verify(path)
    ops, damaged = _check_graph_beside(prefix_of(path), tags)
    damaged = (*report.damaged, *damaged)
    if against is not None and report.whole and (other := difference(path, against)):
        damaged = (*damaged, checkpoints.Damage(str(path), other))
    return Verdict(
        path, report.format, report.tensors, report.nbytes, ops, damaged, compared, left_out, report.checksums, against
    )


def without_catalogue(against: str) -> str:
    """Return `against` in a form that needs no catalogue: `zoo:NAME` becomes the hash of the entry.

    Raises:
        UnknownName: the entry does not exist.
    """
    return hash_of_entry(against) if is_entry(against) else against


def _of_graph(path: Path, graph: Graph, compares: bool, against: str | None) -> Verdict:
    """Check a graph alone."""
    if compares:
        raise PlanError(f"{path} is a graph without a checkpoint: it has no tensors that `unchanged` could compare")
    damaged = _damage(graph)
    if against is not None and (other := difference(Path(graph.source), against, is_graph=True)):
        damaged = (*damaged, checkpoints.Damage(str(path), other))
    return Verdict(path, "graph", 0, 0, len(graph.nodes), damaged, against=against)


def _check_graph_beside(prefix: Path, tags: Collection[str] | None) -> tuple[int, tuple[checkpoints.Damage, ...]]:
    """Check the graph beside a checkpoint and count its ops; `tags` select one of several in a SavedModel."""
    try:
        graph = graph_beside(prefix, tags)
    except FormatError as error:
        return 0, (checkpoints.Damage(f"{prefix}.meta", str(error)),)
    except GraphError:
        if tags is not None:
            raise
        return 0, ()
    return (0, ()) if graph is None else (len(graph.nodes), _damage(graph))


def _damage(graph: Graph) -> tuple[checkpoints.Damage, ...]:
    return tuple(checkpoints.Damage(name, why) for name, why in graph.problems())
