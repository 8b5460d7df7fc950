"""What the inputs of a graph that is written are for: the preprocessing of their rows."""

from collections.abc import Sequence

from ckpttool.graph.contents.preprocessing import with_preprocessing_text
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.training.bound import placeholder_spec
from ckpttool.training.preprocessing import changed_note, with_preprocessing


def with_preprocessed_inputs(
    graph: Graph, given: str | None, kept: str | None = None, fed: Sequence[str] = ()
) -> tuple[Graph, list[str]]:
    """Return a graph that keeps the preprocessing that is given, and what is to be said of that.

    Where none is given, it keeps that of the model that its weights are from, `kept`, else its own. `fed` are its
    inputs, where they are known.

    Raises:
        PlanError: it cannot be read, names what is no input, or does not say which input it is for.
    """
    changed = with_preprocessing_text(graph, kept) if kept is not None else graph
    if given is not None:
        roles = find_roles(changed, needed=())
        inputs = [placeholder_spec(changed, tensor) for tensor in fed or roles.inputs]
        labels = TensorRef.parse(roles.labels).op if roles.labels else None
        changed = with_preprocessing(changed, given, inputs, labels)
    return changed, changed_note(graph, changed)
