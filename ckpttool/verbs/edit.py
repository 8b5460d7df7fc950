"""Edit: change names, shapes, dtypes and values of a checkpoint, and the graph beside it accordingly."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.notes import notes_about
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.format import PLAIN, Writing
from ckpttool.lineage.provenance import Command
from ckpttool.model.checkpoint_plan import CheckpointPlan, format_to_write
from ckpttool.model.resolve import described, graph_path
from ckpttool.surgery.convert import Conversion, plan_convert
from ckpttool.surgery.edits.steps import Edited, Step, apply
from ckpttool.verbs.edit_graph import follow_edits, follows

__all__ = ["EditPlan", "EditRow", "format_to_write", "plan_edit"]

NAMINGS = ("rename ", "strip-prefix ", "add-prefix ")
"""Edits that do not change values."""
INTO_OTHERS = ("split-parts ", "fuse-parts ", "fold-", "layout")
"""Edits that move the values of removed tensors into others."""
NETWORKS = ("keras", "keras-legacy", "keras-weights")
"""Formats in which each tensor belongs to a Keras network."""


@dataclass(frozen=True)
class EditRow:
    """A tensor before and after: `before` is None if it is new, `after` if it is not written."""

    before: TensorSpec | None
    after: TensorSpec | None
    edits: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON; a tensor that is not written has its old shape and dtype."""
        spec = self.after or self.before
        return {
            "source": self.before.name if self.before else None,
            "target": self.after.name if self.after else None,
            "shape": list(spec.shape) if spec else None,
            "dtype": str(spec.dtype) if spec else None,
            "edits": list(self.edits),
        }

    def cells(self) -> dict[str, Any]:
        """Return the row as displayed: old and new shape or dtype if they differ."""
        cells = {**self.as_json(), "edits": ", ".join(self.edits)}
        if self.before and self.after and self.before.shape != self.after.shape:
            cells["shape"] = f"{list(self.before.shape)} -> {list(self.after.shape)}"
        if self.before and self.after and self.before.dtype != self.after.dtype:
            cells["dtype"] = f"{self.before.dtype} -> {self.after.dtype}"
        return cells


@dataclass(frozen=True, repr=False)
class EditPlan(CheckpointPlan):
    """The plan: the edited tensors to write, the graph written with them, and a row per old or new tensor."""

    rows: Sequence[EditRow] = ()

    @property
    def done(self) -> str:
        """A statement about the written output."""
        graph = " and the graph" if self.graph else ""
        what = f"{counted(len(self.tensors), 'tensor')} ({counted(self.nbytes, 'byte')})"
        return f"written and read back as {self.to}, {what}{graph}"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as JSON."""
        return [row.as_json() for row in self.rows]

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> list[str]:
        """Write the tensors and the graph atomically.

        Return notes on the sparsity of pruned tensors, and on whether an old graph is still there.

        Raises:
            ExistingOutput: the output exists.
            CkptError: a value cannot be represented in its new dtype.
        """
        noticed = super().write(output, overwrite, command)
        pruned = [row.after.name for row in self.rows if row.after and any(e.startswith("prune ") for e in row.edits)]
        if pruned:
            from ckpttool.surgery.summary import summarize  # needs NumPy, which most edits do not

            written = checkpoint.open(output)
            for name in (name for name in pruned if name in written):
                summary = summarize(written[name])
                noticed.append(f"{name}: {summary.zeros / max(summary.count, 1):.1%} zeros")
        old = Path(f"{str(output).removesuffix('.index')}.meta")
        if not self.graph and self.to == "bundle" and old.exists():
            noticed.append(f"{old} is still the graph that was there before")
        return noticed


def plan_edit(
    source: Checkpoint,
    steps: Sequence[Step],
    *,
    to: str = "bundle",
    slots: bool = False,
    allow_truncate: bool = False,
    seed: int = 42,
    with_graph: bool = True,
    lenient: bool = False,
    like: Path | None = None,
    shard_bytes: int | None = None,
) -> EditPlan:
    """Plan what `edit` writes: no value is read and nothing is written before the plan's `write`.

    Args:
        source: The checkpoint; the graph beside it determines which tensors are slots.
        steps: The edits in order.
        to: The format to write; `format_to_write` returns that of the model's family.
        slots: Whether patterns also match the optimizer's tensors.
        allow_truncate: Whether `resize` may discard values beyond a smaller size.
        seed: The random seed of new values in `resize`.
        with_graph: Whether to write the graph too, into a bundle (as its `.meta`) or a SavedModel.
        lenient: Whether to skip, and list, edits without a match and tensors that the format cannot store.
        like: A file whose structure the output gets (Keras formats).
        shard_bytes: The maximum bytes per file, if the format allows several files.

    >>> import numpy as np
    >>> ckpt = Checkpoint.of({"hidden1/kernel": np.zeros((2, 3), np.float32), "global_step": np.array(7)})
    >>> steps = [Step("drop", "global_step"), Step("rename", "hidden1=>fc"), Step("transpose", "fc=1,0")]
    >>> plan = plan_edit(ckpt, steps)
    >>> [(row.before.name, row.after and row.after.shape) for row in plan.rows]
    [('hidden1/kernel', (3, 2)), ('global_step', None)]

    Raises:
        UnknownName: an edit matches nothing.
        PlanError: an edit is refused, no tensor would remain, or the graph cannot use the result.
        FormatError: the format cannot store a tensor.
    """
    notes = [] if steps or to != source.format else ["no edit is specified: the values are copied as they are"]
    settings = {"slots": slots, "allow_truncate": allow_truncate, "seed": seed}
    edited = apply(described(source, notes.append), steps, settings, lenient)
    return plan_edited(
        source, edited, notes, to, with_graph, lenient=lenient, how=Writing(like=like, shard_bytes=shard_bytes)
    )


def plan_edited(
    source: Checkpoint,
    edited: Edited,
    notes: Sequence[str],
    to: str,
    with_graph: bool,
    *,
    lenient: bool = False,
    how: Writing = PLAIN,
) -> EditPlan:
    """Plan to write an edited checkpoint, and the graph beside it, changed accordingly.

    Raises:
        PlanError: no tensor would remain, or the graph cannot use the result.
        FormatError: the format cannot store a tensor.
    """
    notes = list(notes)
    if not edited.tensors:
        raise PlanError(f"{source.path}: nothing would be left of {counted(len(source), 'tensor')}")
    converted = plan_convert(edited.tensors, to, lenient=lenient, how=how)
    notes += [*(f"skipped: {problem}" for problem in edited.skipped), *edited.remarks]
    joined = [name for name, edits in edited.dropped.items() if edits[-1].startswith(INTO_OTHERS)]
    notes += notes_about("dropped", [name for name in edited.dropped if name not in joined])
    notes += notes_about("now in others", joined)
    if joined and to in NETWORKS:
        raise PlanError(
            f"a network of Keras needs {joined[0]}, whose numbers are in other tensors now: write a file of weights, "
            "such as .safetensors or .npz"
        )
    notes += notes_about("edited apart, so not tied any more", _parted(edited))
    notes += converted.notes
    graph = None
    meta = graph_path(source.path)
    if meta and with_graph and follows(meta, source, edited, to):
        followed = follow_edits(meta, edited)
        graph = followed.graph
        notes += [f"the graph follows: {meta}", *followed.notes]
    elif meta and to != "saved-model":
        notes.append(f"the graph of {source.path} is not written: the output is a checkpoint without a graph")
    rows = tuple(_rows(source, edited, converted))
    return EditPlan(converted.tensors, to, rows, tuple(notes), converted.how, graph)


def _parted(edited: Edited) -> Iterator[str]:
    """Yield pairs of tensors that were tied, and whose edited values differ."""
    for alias, kept in edited.tensors.ties().items():
        done = [[edit for edit in edited.done[name] if not edit.startswith(NAMINGS)] for name in (alias, kept)]
        if done[0] != done[1]:
            yield f"{alias} and {kept}"


def _rows(source: Checkpoint, edited: Edited, converted: Conversion) -> Iterator[EditRow]:
    before = {source.origins.get(name, name): tensor.spec for name, tensor in source.items()}
    for name, tensor in edited.tensors.items():
        old = before.get(edited.tensors.origins.get(name, name))
        edits = edited.done[name]
        if name in converted.tensors:
            yield EditRow(old, tensor.spec, edits)
        else:
            yield EditRow(old, None, (*edits, f"skipped: {converted.to} cannot hold it"))
    for origin, edits in edited.dropped.items():
        yield EditRow(before.get(origin), None, edits)
