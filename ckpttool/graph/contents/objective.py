"""The objective that a model was trained for where its graph holds no loss, kept in a collection to go with it."""

from ckpttool.core.errors import FormatError
from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.core import Graph

KEY = "ckpttool/objective"


def kept_objective(graph: Graph) -> tuple[str, float] | None:
    """Return the kind of the objective and how far labels are smoothed for it; None where nothing is kept.

    Raises:
        FormatError: what is kept is no objective.
    """
    texts = own_texts(graph, KEY)
    if not texts:
        return None
    try:
        return texts[0], float(texts[1]) if len(texts) > 1 else 0.0
    except ValueError as error:
        raise FormatError(f"{graph.source}: collection {KEY} says {' '.join(texts)}, which is no objective") from error


def with_kept_objective(graph: Graph, kind: str, label_smoothing: float = 0.0) -> Graph:
    """Return the graph with another objective kept in it."""
    return with_own_texts(graph, KEY, [kind, *([str(label_smoothing)] if label_smoothing else [])])
