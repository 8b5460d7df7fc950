"""The proof that a model's files are whole: its checkpoint's checksums and rules, and the graph beside it."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import prefix_of
from ckpttool.core.errors import CorruptCheckpoint, FormatError, GraphError
from ckpttool.graph.core import Graph
from ckpttool.graph.integrity import problems
from ckpttool.model.resolve import graph_beside, open_either
from ckpttool.surgery import verify as checkpoints


@dataclass(frozen=True)
class Verdict:
    """What was checked, what is damaged, and (where that was asked) which tensors have changed."""

    path: Path
    format: str
    tensors: int
    nbytes: int
    ops: int
    damaged: tuple[checkpoints.Damage, ...]
    compared: checkpoints.Unchanged | None = None

    @property
    def holds(self) -> bool:
        """Whether everything is as it should be."""
        return not self.damaged and (self.compared is None or self.compared.holds)

    @property
    def rows(self) -> list[dict[str, str]]:
        """What is wrong, tensor by tensor."""
        changed = self.compared.changed if self.compared else ()
        return [{"name": item.name, "problem": item.why} for item in (*self.damaged, *changed)]

    def document(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "path": str(self.path),
            "format": self.format,
            "tensors": self.tensors,
            "bytes": self.nbytes,
            "ops": self.ops,
            "whole": not self.damaged,
            "damaged": [{"name": item.name, "problem": item.why} for item in self.damaged],
            "unchanged": list(self.compared.same) if self.compared else None,
            "changed": [{"name": item.name, "problem": item.why} for item in self.compared.changed]
            if self.compared
            else None,
        }

    def summary(self) -> str:
        """Return the verdict in a line."""
        checked = [f"{self.tensors} tensors ({self.nbytes} bytes)"] if self.format != "graph" else []
        checked += [f"a graph of {self.ops} ops"] if self.ops else []
        result = f"{len(self.damaged)} damaged" if self.damaged else "whole"
        compared = self.compared
        same = f"; {len(compared.same)} unchanged, {len(compared.changed)} changed" if compared else ""
        return f"{self.path}: {' and '.join(checked)} checked: {result}{same}"


def verdict(path: Path, same: tuple[str, Path] | None = None, tags: Collection[str] | None = None) -> Verdict:
    """Check a checkpoint and the graph beside it, or a graph alone; `same` is a pattern and another checkpoint.

    Raises:
        MissingFile: there is nothing to check.
        FormatError: what is there is neither a checkpoint nor a graph.
        UnknownName: the pattern takes nothing.
    """
    try:
        found = open_either(path, tags)
    except CorruptCheckpoint:
        return _checkpoint_verdict(path, None, tags)
    if isinstance(found, Graph):
        return Verdict(path, "graph", 0, 0, len(found.nodes), tuple(_damage(found)))
    return _checkpoint_verdict(path, _compared(found, same), tags)


def _compared(found: checkpoint.Checkpoint, same: tuple[str, Path] | None) -> checkpoints.Unchanged | None:
    return None if same is None else checkpoints.unchanged(checkpoint.open(same[1]), found, same[0])


def _checkpoint_verdict(path: Path, compared: checkpoints.Unchanged | None, tags: Collection[str] | None) -> Verdict:
    report = checkpoints.verify(path)
    ops, damaged = _graph_verdict(prefix_of(path), tags)
    return Verdict(path, report.format, report.tensors, report.nbytes, ops, (*report.damaged, *damaged), compared)


def _graph_verdict(prefix: Path, tags: Collection[str] | None) -> tuple[int, tuple[checkpoints.Damage, ...]]:
    """Check the graph beside a checkpoint; of a SavedModel with several, the one that the tags name."""
    try:
        graph = graph_beside(prefix, tags)
    except FormatError as error:
        return 0, (checkpoints.Damage(f"{prefix}.meta", str(error)),)
    except GraphError:
        if tags is not None:
            raise
        return 0, ()
    return (0, ()) if graph is None else (len(graph.nodes), tuple(_damage(graph)))


def _damage(graph: Graph) -> Iterator[checkpoints.Damage]:
    return (checkpoints.Damage(name, why) for name, why in problems(graph))
