"""The graph beside an edited checkpoint: what an edit does to it, and which edits it cannot follow."""

from pathlib import Path

from ckpttool.core.errors import CkptError, PlanError
from ckpttool.graph import files
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.sync.following import Followed, follow
from ckpttool.surgery.edits.steps import Edited
from ckpttool.surgery.edits.taking import quantised

_MOVES = ("transpose", "reshape")
"""Edits that put elements where the ops of a graph do not look for them."""


def follow_edits(meta: Path, edited: Edited) -> Followed:
    """Return the graph of a `.meta` as it goes with the edited tensors, and what is to be said of it.

    Raises:
        CkptError: the graph cannot be read, or cannot follow; the message has the reason and the way out.
    """
    try:
        graph = files.load(meta)
        _refuse_unfit(graph, edited)
        return follow(graph, edited.tensors)
    except CkptError as error:
        raise type(error)(f"{error}; --no-graph writes the checkpoint alone") from error


def _refuse_unfit(graph: Graph, edited: Edited) -> None:
    """Raise where the graph could restore a tensor, and would compute something else with it."""
    known, tensors = stored_tensors(graph), edited.tensors
    for name in (name for name in tensors if tensors.origins.get(name, name) in known):
        moved = next((step for step in edited.done[name] if step.split()[0] in _MOVES), None)
        if moved:
            raise PlanError(f"{graph.source}: {name} is used by the graph as it was before {moved}")
    for name in quantised(tensors):
        if tensors.origins.get(name, name) in known:
            raise PlanError(f"{graph.source}: {name} is int8 with a scale, which the graph does not multiply it with")
