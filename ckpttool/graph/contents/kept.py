"""Metadata of a graph, and its form in a Keras file: class names, preprocessing, and the layers of the head.

A `.keras` file has it in its `metadata.json`, under the key `ckpttool`, which Keras ignores.
"""

from collections.abc import Mapping
from typing import Any

from ckpttool.graph.contents.class_names import class_facts, class_names, with_class_names
from ckpttool.graph.contents.head import said_head, with_said_head
from ckpttool.graph.contents.preprocessing import preprocessing_text, with_preprocessing_text
from ckpttool.graph.core import Graph

METADATA = "ckpttool"
"""The key in a Keras file's metadata."""


def kept_metadata(graph: Graph) -> dict[str, Any]:
    """Return a graph's metadata in the form for a Keras file; empty if it has none."""
    text, names = preprocessing_text(graph), class_names(graph)
    kept = {**({} if text is None else {"preprocess": text}), **({"classes": list(names)} if names else {})}
    kept |= {"head": list(head)} if (head := said_head(graph)) else {}
    return {METADATA: kept} if kept else {}


def with_kept_metadata(graph: Graph, metadata: Mapping[str, Any]) -> Graph:
    """Return the graph with the metadata of a Keras file; entries of other types are ignored."""
    kept = metadata.get(METADATA)
    kept = kept if isinstance(kept, Mapping) else {}
    names, text, head = kept.get("classes"), kept.get("preprocess"), kept.get("head")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        graph = with_class_names(graph, names)
    if isinstance(head, list) and all(isinstance(name, str) for name in head):
        graph = with_said_head(graph, head)
    return with_preprocessing_text(graph, text) if isinstance(text, str) else graph


def kept_facts(graph: Graph) -> list[str]:
    """Return descriptions of a graph's metadata: `3 classes: cat, dog, emu`, `preprocessing: scale(1/127.5, -1)`."""
    text = preprocessing_text(graph)
    return [*class_facts(graph), *([f"preprocessing: {text}"] if text is not None else [])]
