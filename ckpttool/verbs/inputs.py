"""The preprocessing of a written graph's inputs."""

from collections.abc import Sequence
from dataclasses import replace

from ckpttool.core.errors import GraphError, PlanError
from ckpttool.data.files import InputSpec
from ckpttool.data.preprocessing import Preprocessing
from ckpttool.graph.contents.preprocessing import preprocessing_text, with_preprocessing_text
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.training.preprocessing import changed_note, with_preprocessing
from ckpttool.training.wanted import placeholder_spec


def with_preprocessed_inputs(
    graph: Graph, given: str | None, source: Graph | None = None, fed: Sequence[str] = ()
) -> tuple[Graph, list[str]]:
    """Return a graph that stores the specified preprocessing, and notes about it.

    By default it stores that of `source`, the graph of its weights, else its own. `fed` are its
    inputs, if known.

    Raises:
        PlanError: it cannot be parsed, names something that is not an input, or is ambiguous.
    """
    text = preprocessing_text(source) if source else None
    if given is None and text is None:
        return graph, []
    roles = find_roles(graph, needed=())
    inputs = [placeholder_spec(graph, tensor) for tensor in fed or roles.inputs]
    changed = with_preprocessing_text(graph, _carried(source, text, inputs)) if source and text else graph
    labels = TensorRef.parse(roles.labels).op if roles.labels else None
    changed = with_preprocessing(changed, given, inputs, labels)
    return changed, changed_note(graph, changed)


def _carried(source: Graph, text: str, inputs: Sequence[InputSpec]) -> str:
    """Return the text of another graph with the names of its inputs in this one."""
    try:
        kept = Preprocessing.parse(text)
    except PlanError:
        return text  # reading the rows reports the error
    places = {name: spec.name for spec in inputs for name in spec.names}
    named = tuple(
        (next((places[each] for each in _names(source, name) if each in places), name), steps)
        for name, steps in kept.named
    )
    return str(replace(kept, named=named))


def _names(graph: Graph, name: str) -> list[str]:
    """Return the names of an input, its op's first."""
    try:
        return placeholder_spec(graph, f"{name}:0").names if name in graph.nodes else [name]
    except GraphError:
        return [name]
