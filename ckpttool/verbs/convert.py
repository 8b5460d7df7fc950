"""Convert: a checkpoint in another format."""

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.formats.format import Writing
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.model.resolve import described, graph_path, open_checkpoint
from ckpttool.surgery import convert as surgery


def is_unknown(suffix: str) -> bool:
    """Return whether a prefix's suffix looks like that of a format, unlike `.ckpt`, `.ckpt-1000` and numbers.

    >>> is_unknown(".foo"), is_unknown(".ckpt-1000"), is_unknown(".5"), is_unknown("")
    (True, False, False, False)
    """
    return suffix[1:].isalpha() and not suffix.startswith(".ckpt")


def is_across(source: Checkpoint, like: Path) -> bool:
    """Return whether a file's weights have other names than a checkpoint's, or other layouts, as in another framework.

    A weight with another number of elements does not have another layout: it is of another network.
    """
    other = open_checkpoint(like)
    weights = [name for name, kind in source.kinds().items() if kind == "weight"]
    if any(name not in other for name in weights):
        return True
    pairs = [(source[name].shape, other[name].shape) for name in weights]
    return any(ours != theirs for ours, theirs in pairs) and all(prod(ours) == prod(theirs) for ours, theirs in pairs)


@dataclass(frozen=True, repr=False)
class ConvertPlan(CheckpointPlan):
    """The plan: the checkpoint to write, in the requested format."""

    @property
    def done(self) -> str:
        """A statement about the written output."""
        what = f"{counted(len(self.tensors), 'tensor')} ({counted(self.nbytes, 'byte')})"
        return f"written and read back as {self.to}, {what}"


def plan_convert(
    source: Path | Checkpoint,
    to: str,
    *,
    layers: str | None = None,
    drop_slots: bool = False,
    lenient: bool = False,
    like: Path | None = None,
    shard_bytes: int | None = None,
    named: Path | None = None,
) -> ConvertPlan:
    """Plan what `convert` writes.

    Args:
        source: The checkpoint.
        to: The name of a format (`ckpttool.formats.names()`).
        layers: A pattern of weights, which include their slots; None matches everything.
        drop_slots: Whether to drop the optimizer's slots.
        lenient: Whether to skip tensors that the format cannot store.
        like: A file whose structure the output gets (Keras, TensorFlow.js); if it has other names or shapes, its
            names, shapes and layouts are used, as for the same network in another framework.
        shard_bytes: The maximum bytes per file, if the format allows several files.
        named: The output, if its name alone determined the format; a note says if its suffix did not.

    Raises:
        FormatError: the format cannot be written, or cannot store a tensor; the message has their names.
        UnknownName: the pattern matches nothing.
        CkptError: the format does not exist, or does not support an argument.
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
    if named and to == "bundle" and is_unknown(named.suffix):
        problem = f"no format has the suffix {named.suffix} (`ckpttool formats` lists those that there are)"
        notes.append(f"{named} is written as the prefix of a TensorFlow checkpoint: {problem}")
    return ConvertPlan(converted.tensors, to, converted.rows, notes, converted.how)
