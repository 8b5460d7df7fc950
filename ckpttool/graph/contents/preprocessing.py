"""The preprocessing of a model's rows, as a string in a collection of the graph; `data.preprocessing` parses it."""

from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.core import Graph

KEY = "ckpttool/preprocess"


def preprocessing_text(graph: Graph) -> str | None:
    """Return the preprocessing, or None if the graph does not specify it."""
    return next(iter(own_texts(graph, KEY)), None)


def with_preprocessing_text(graph: Graph, text: str | None) -> Graph:
    """Return the graph with another preprocessing; None removes it."""
    return with_own_texts(graph, KEY, [] if text is None else [text])
