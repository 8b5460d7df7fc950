"""Convert a checkpoint to another format; tensors that the format cannot store are errors, or skipped."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, FormatError
from ckpttool.core.names import listed
from ckpttool.core.notebooks import ShownPlan
from ckpttool.core.notes import notes_about
from ckpttool.core.patterns import Pattern
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Format, Writing
from ckpttool.formats.keras.files import is_whole_model
from ckpttool.lineage.provenance import Command


@dataclass(frozen=True, repr=False)
class Conversion(ShownPlan):
    """The tensors to write, the format and its options, with a row for every tensor of the source, and notes."""

    tensors: Checkpoint
    to: str
    how: Writing
    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """The size in bytes of the tensors to write, without strings."""
        return sum(spec.nbytes for spec in self.tensors.specs())

    def write(self, output: Path | str, overwrite: bool = False, command: Command | None = None) -> None:
        """Write the tensors atomically; see `checkpoint.save` for the errors."""
        checkpoint.save(self.tensors, output, self.to, overwrite, self.how, command)


def plan_convert(
    source: Checkpoint,
    to: str,
    layers: str | None = None,
    drop_slots: bool = False,
    lenient: bool = False,
    how: Writing = PLAIN,
) -> Conversion:
    """Plan the conversion of a checkpoint to the format named `to`.

    `layers` selects weights, with their optimizer slots unless `drop_slots`; by default everything is selected.
    `lenient` skips tensors that the format cannot store.

    >>> import numpy as np
    >>> values = {"fc/kernel": np.zeros((2, 3)), "fc/kernel/Momentum": np.zeros((2, 3)), "global_step": np.array(7)}
    >>> list(plan_convert(Checkpoint.of(values), "npz", drop_slots=True).tensors)
    ['fc/kernel', 'global_step']

    Raises:
        FormatError: the format is only read, or cannot hold a tensor, or there is none; the message has their names.
        UnknownName: the pattern matches nothing.
        CkptError: no format has the name, or it does not take an option of writing.
    """
    target = registry.get(to)
    if not target.WRITES:
        raise FormatError(f"{target.NAME} {target.LIMITS}")
    if not source and source.left_out and not lenient:
        raise FormatError(f"{source.path} contains no tensor that can be read; skipped: {listed(source.left_out, 3)}")
    for choice in ("like", "shard_bytes"):
        if getattr(how, choice) is not None and choice not in target.OPTIONS:
            others = [name for name in registry.names() if choice in registry.get(name).OPTIONS]
            raise CkptError(f"`{choice}` does not apply to {target.NAME}, only to {', '.join(others)}")
    kind = source.kinds()
    chosen = _chosen(source, layers, drop_slots) & set(checkpoint.storable(source, target))
    reasons = {name: target.why_not(source[name]) for name in source if name in chosen}
    homeless = {name: reason for name, reason in reasons.items() if reason}
    if homeless and not lenient:
        first = next(iter(homeless.values()))
        raise FormatError(f"{to} {target.LIMITS}: {listed(homeless)} ({first}); `lenient` omits such tensors")
    fates = dict.fromkeys(source, "not selected") | dict.fromkeys(reasons, "written")
    fates |= dict.fromkeys(homeless, f"skipped: {to} cannot store it")
    rows = tuple(source[name].spec.row() | {"kind": kind[name], "then": fate} for name, fate in fates.items())
    kept = {name: source[name] for name, fate in fates.items() if fate == "written"}
    tensors = _told(source, kept, layers, drop_slots)
    lost = notes_about(
        f"skipped, as {to} cannot store it", (f"{name} ({why})" for name, why in homeless.items()), most=3
    )
    return Conversion(tensors, to, with_texts(source, target, how), rows, (*lost, *left_behind(source, target, how)))


def _told(source: Checkpoint, kept: Mapping[str, Tensor], layers: str | None, drop_slots: bool) -> Checkpoint:
    """Return the kept tensors, with the edits that select them in the lineage, if edits can."""
    tensors = source.holding(kept)
    if len(kept) == len(source):
        return tensors
    view = source
    if drop_slots and "slot" in source.kinds().values():
        view = view.drop_slots()
    if layers is not None:
        view = view.keep(layers)
    gone = [name for name in view if name not in kept]
    if gone:
        view = view.drop("|".join(map(re.escape, gone)))
    return (
        tensors.made_of(view.provenance) if set(view) == set(kept) else tensors.after("leave out what was not selected")
    )


def with_texts(source: Checkpoint, target: Format, how: Writing = PLAIN) -> Writing:
    """Return the options of writing, with the source's metadata if the format can store it."""
    return replace(how, metadata={**source.metadata, **how.metadata}) if target.METADATA else how


def left_behind(source: Checkpoint, target: Format, how: Writing = PLAIN) -> list[str]:
    """Return notes about what is not written besides tensors; an edited copy of the source keeps everything else."""
    notes: list[str] = []
    if "like" not in target.OPTIONS or how.like:
        notes += notes_about("skipped, as it is not a tensor of a model", source.left_out, most=3)
    if OBJECT_GRAPH in source and not target.OBJECT_GRAPH:
        notes.append(f"skipped, as {target.NAME} cannot store objects: the object graph ({OBJECT_GRAPH})")
    if source.format == "keras-legacy" and target.NAME == "hdf5":
        notes.append(
            "written as a tree of datasets, which Keras does not load: `import` puts it into a model of Keras, "
            "`to` keras-legacy writes an edited copy"
        )
    if target.NAME == "tfjs" and not how.like and not _has_network(source):
        notes.append("written as weights alone: `like` takes the network, of a model.json or a whole model of Keras")
    if source.metadata and not target.METADATA:
        notes += notes_about(f"skipped, as {target.NAME} stores no texts", source.metadata)
    return notes


def _has_network(source: Checkpoint) -> bool:
    """Return whether a checkpoint's file has a network that a model.json can contain."""
    return source.format == "tfjs" or (source.path is not None and is_whole_model(source.path))


def _chosen(source: Checkpoint, layers: str | None, drop_slots: bool) -> set[str]:
    """Return the selected names."""
    kind = source.kinds()
    kept = [name for name, of in kind.items() if of != "slot" or not drop_slots]
    if layers is None:
        return set(kept)
    weights = set(Pattern(layers).select([name for name in kept if kind[name] == "weight"]))
    slots = () if drop_slots else source.owners().items()
    return weights | {slot for slot, owner in slots if owner in weights}
