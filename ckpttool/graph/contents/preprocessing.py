"""Preprocessing of a model's rows, as a text that is kept in a collection to go where the graph goes.

What the text says is known where data is: `data.preprocessing`.
"""

from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.core import Graph

KEY = "ckpttool/preprocess"


def preprocessing_text(graph: Graph) -> str | None:
    """Return the text, None where none is kept."""
    return next(iter(own_texts(graph, KEY)), None)


def with_preprocessing_text(graph: Graph, text: str | None) -> Graph:
    """Return the graph with another text, or without any."""
    return with_own_texts(graph, KEY, [] if text is None else [text])
