"""Convert: a checkpoint in another format."""

from dataclasses import dataclass, replace
from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.formats.format import Writing
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.model.resolve import described, graph_path, open_checkpoint
from ckpttool.surgery import convert as surgery


def is_across(source: Checkpoint, like: Path) -> bool:
    """Say whether a file has other names for weights than a checkpoint: it is of another framework, or program."""
    names = open_checkpoint(like)
    return any(kind == "weight" and name not in names for name, kind in source.kinds().items())


@dataclass(frozen=True, repr=False)
class ConvertPlan(CheckpointPlan):
    """The checkpoint that will be written, in the format that was asked for."""

    @property
    def done(self) -> str:
        """A statement about the written output."""
        what = f"{counted(len(self.tensors), 'tensor')} ({counted(self.nbytes, 'byte')})"
        return f"written and read back as {self.to}, {what}"


def plan_convert(
    source: Path | Checkpoint,
    to: str,
    layers: str | None = None,
    drop_slots: bool = False,
    lenient: bool = False,
    like: Path | None = None,
    shard_bytes: int | None = None,
) -> ConvertPlan:
    """Plan what `convert` writes.

    Args:
        source: The checkpoint.
        to: The name of a format (`ckpttool.formats.names()`).
        layers: A pattern of weights, which come with their slots; None takes everything.
        drop_slots: Leave out the optimizer's slots.
        lenient: Leave out the tensors that the format cannot hold.
        like: A file whose structure the output gets (of Keras, TensorFlow.js); where it has other names, its names,
            shapes and layouts, as of the same network in another framework.
        shard_bytes: The most that a file holds, where the format has several.

    Raises:
        FormatError: the format is only read, or cannot hold a tensor; the message has their names.
        UnknownName: the pattern matches nothing.
        CkptError: no format has the name, or it does not heed a choice that was made.
    """
    notes: list[str] = []
    opened = source if isinstance(source, Checkpoint) else open_checkpoint(source)
    tensors = described(opened, notes.append)
    how = Writing(like=like, shard_bytes=shard_bytes)
    if like is not None and layers is None and is_across(tensors, like):
        from ckpttool.verbs.convert_across import converted_across  # it needs a graph, which most conversions do not

        converted = converted_across(tensors, like, to, lenient, replace(how, like=None))
    else:
        converted = surgery.plan_convert(tensors, to, layers, drop_slots, lenient, how)
    notes += converted.notes
    if graph_path(tensors.path) and to != "saved-model":
        notes.append(f"the graph of {tensors.path} is not written: the output is a checkpoint without a graph")
    return ConvertPlan(converted.tensors, to, converted.rows, notes, converted.how)
