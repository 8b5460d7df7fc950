"""Applies the edits of a model's checkpoint to its graph."""

from collections.abc import Mapping
from dataclasses import dataclass

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.restoring import require_restorable
from ckpttool.graph.contents.savers import saved_names
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.old_savers import with_savers_of_version_2
from ckpttool.graph.rewrite.savers import cast_saved, rename_saved
from ckpttool.graph.sync.dropping import drop_variables, lost_training
from ckpttool.graph.sync.renaming import rename_variables
from ckpttool.graph.sync.resizing import resize_variables

_NEVER_CAST = frozenset({"int4", "uint4"})
"""The dtypes that TensorFlow's Cast supports on no device (tensorflow/core/kernels/cast_op.cc)."""


@dataclass(frozen=True)
class Synced:
    """The graph of an edited checkpoint, with notes for the user."""

    graph: Graph
    notes: tuple[str, ...]


def sync_graph(graph: Graph, edited: Checkpoint) -> Synced:
    """Return a model's graph with the changes of its checkpoint: tensors renamed, dropped, resized, cast.

    The changes are determined from names (`edited.origins`), shapes and dtypes, without reading tensors. A plain
    TensorFlow program that imports the graph can restore the edited checkpoint and continue training.

    - A renamed variable's op and all ops below its scope are renamed, unless the saver defines its own names.
    - If an optimizer's slot or a step counter is dropped, the training op that needs it is removed, with its gradients.
    - Slots that the Saver does not save are renamed and resized with their variables.
    - A resized variable has the new shape, and a new initialiser if the old one was data. Constants in gradients with
      the old size are changed; if they cannot be identified, the training op is removed (`resize_variables`).
    - A cast changes the file only: the graph computes in its original dtype, and its Saver casts when it reads and
      writes. So training is unaffected, and checkpoints stay small.

    Raises:
        PlanError: the graph needs a dropped tensor, does not support a new shape or name, or its saver could not
            restore the output.
        GraphError: the tensors of the savers cannot be determined.
    """
    known, origins = stored_tensors(graph), _origins(edited)
    kept = {old: new for old, new in origins.items() if old in known}
    saved = saved_names(graph)
    dropped = [name for name in known if name not in kept and (name in saved or not saved)]
    unsaved = known.keys() - kept.keys() - set(dropped)
    slots = {slot: owner for slot in unsaved if (owner := known[slot].owner) in kept}
    _refuse_cast(graph, known, edited, kept)
    shapes = {old: edited[new].shape for old, new in kept.items()}
    shapes |= {slot: shapes[owner] for slot, owner in slots.items() if known[slot].shape == known[owner].shape}
    # A variable without a shape in the graph accepts any.
    resized = {old: shape for old, shape in shapes.items() if known[old].shape not in (None, shape)}
    after, notes = resize_variables(drop_variables(graph, dropped), resized)
    lost = lost_training(graph, after)
    after = cast_saved(after, {old: edited[new].dtype for old, new in origins.items()})
    if any(old != new for old, new in origins.items()):
        after = rename_saved(after, lambda key: origins.get(key, key))
    names = {known[key].own_name: _own_name(known[key], new) for key, new in kept.items()}
    for slot, owner in slots.items():
        own, base = known[slot].own_name, known[owner].own_name
        names[own] = names[base].join(own.rsplit(base, 1))
    after = rename_variables(after, names)
    if lost:
        notes += (f"the training op is removed, with its gradients: {', '.join(lost[:5])}",)
    strange = [new for old, new in origins.items() if old not in known and old not in saved]
    if strange:
        notes += (f"only in the checkpoint, not variables of the graph: {', '.join(strange[:5])}",)
    require_restorable(with_savers_of_version_2(after), {spec.name: spec for spec in edited.specs()})
    return Synced(after, notes)


def _own_name(stored: StoredTensor, key: str) -> str:
    """Return the new own name of a variable whose tensor gets another key: the key, if the two were equal.

    If the old key was the own name with a suffix, as for an average, the suffix is removed from the new key. If the
    saver defines an unrelated key, only the key changes.
    """
    own = stored.own_name
    more = stored.name.removeprefix(own)
    if stored.name == own or (more != stored.name and more.startswith("/") and key.endswith(more)):
        return key.removesuffix(more) if more else key
    return own


def _refuse_cast(graph: Graph, known: Mapping[str, StoredTensor], edited: Checkpoint, kept: Mapping[str, str]) -> None:
    """Raise an error if TensorFlow could not read a tensor's dtype: without a saver, in slices, or at all."""
    has_saver = bool(saved_names(graph))
    for old, new in kept.items():
        disk, held = edited[new].dtype, known[old].dtype
        if disk != held and not has_saver:
            raise PlanError(f"{graph.source}: {new} is {disk}, but {held} in the graph, which has no Saver to cast it")
        if disk != held and disk.name in _NEVER_CAST:
            raise PlanError(f"{graph.source}: {new} is {disk}, which TensorFlow does not cast to {held}")
        if disk != held and len(known[old].members) > 1 and "float" in disk.name and disk.itemsize < 4:
            raise PlanError(f"{graph.source}: {new} is read in slices, which TensorFlow does not support for {disk}")


def _origins(edited: Checkpoint) -> dict[str, str]:
    """Return the new name of each tensor by its old name.

    Raises:
        PlanError: a tensor was copied: the graph has only one variable for it.
    """
    names: dict[str, str] = {}
    for name in edited:
        old = edited.origins.get(name, name)
        if old in names:
            raise PlanError(f"{names[old]} and {name} are both {old}, for which the graph has one variable")
        names[old] = name
    return names
