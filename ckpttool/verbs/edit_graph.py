"""Edit: changing the graph beside an edited checkpoint accordingly, if possible."""

from pathlib import Path
from typing import TYPE_CHECKING

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats.tensorflow.prefix import SAVED_MODEL_GRAPHS
from ckpttool.model.checkpoint_plan import FORMATS
from ckpttool.surgery.edits.steps import Edited

if TYPE_CHECKING:
    from ckpttool.graph.core import Graph
    from ckpttool.graph.sync.sync import Synced

SHAPES = ("transpose", "reshape", "slice", "pad", "resize", "reduce", "layout", "layout-back", "drop", "keep")
"""Edits after which ops of a saver would compute with other shapes, or with missing tensors."""
MOVES = ("transpose", "reshape", "layout", "layout-back")
"""Edits that move elements to positions that the ops of a graph do not expect."""


def follows(meta: Path, source: Checkpoint, edited: Edited, to: str) -> bool:
    """Return whether the graph beside a checkpoint is rewritten for the edited tensors.

    A SavedModel of TensorFlow 2 is not: its graph is a tree of functions. If only values differ,
    a copy is written, with all that is in its folder.
    """
    if meta.suffix == ".meta":
        return to in FORMATS.values()
    if meta.name not in SAVED_MODEL_GRAPHS or OBJECT_GRAPH in source:
        return False
    before, after = (
        {name: (tensor.shape, tensor.dtype) for name, tensor in each.items()} for each in (source, edited.tensors)
    )
    return to == "bundle" or (to == "saved-model" and before != after)


def follow_edits(meta: Path, edited: Edited) -> "Synced":
    """Return the graph of a file changed for the edited tensors, and notes.

    Raises:
        CkptError: the graph cannot be read, or cannot follow: it could restore a tensor, and would compute something
            else with it. The message has the reason and the way out.
    """
    # These take as long to import as most edits without a graph.
    from ckpttool.graph import files
    from ckpttool.graph.contents.stored import stored_tensors
    from ckpttool.graph.sync.sync import sync_graph
    from ckpttool.surgery.edits.edit import quantised

    try:
        graph = files.load(meta)
        known, tensors = stored_tensors(graph), edited.tensors
        for name in (name for name in tensors if tensors.origins.get(name, name) in known):
            moved = next((step for step in edited.done[name] if step.split()[0] in MOVES), None)
            if moved:
                raise PlanError(f"{graph.source}: {name} is used by the graph as it was before {moved}")
        for name in quantised(tensors):
            if tensors.origins.get(name, name) in known:
                problem = "is int8 with a scale, which the graph does not multiply it with"
                raise PlanError(f"{graph.source}: {name} {problem}")
        _refuse_computed(graph, edited)
        return sync_graph(graph, tensors)
    except CkptError as error:
        raise type(error)(f"{error}; `with_graph=False` writes the checkpoint alone") from error


def _refuse_computed(graph: "Graph", edited: Edited) -> None:
    """Raise where the graph's saver would compute a variable of tensors that have other shapes now, or are gone."""
    from ckpttool.graph.contents.savers import computed_variables

    tensors = edited.tensors
    done = {tensors.origins.get(name, name): edits for name, edits in edited.done.items()} | dict(edited.dropped)
    for variable, keys in computed_variables(graph).items():
        for key in (key for key in keys if any(step.split()[0] in SHAPES for step in done.get(key, ()))):
            raise PlanError(f"{graph.source}: the graph's Saver computes {variable} of {key} as it was")
