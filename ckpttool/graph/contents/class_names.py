"""Class names: the meaning of label numbers, in a collection of the graph."""

from collections.abc import Sequence

from ckpttool.core.counts import counted
from ckpttool.core.names import listed
from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.core import Graph

KEY = "ckpttool/classes"


def class_names(graph: Graph) -> tuple[str, ...]:
    """Return the class names in the order of their numbers; empty if they are unknown."""
    return own_texts(graph, KEY)


def with_class_names(graph: Graph, names: Sequence[str]) -> Graph:
    """Return the graph with other class names; an empty sequence removes them."""
    return with_own_texts(graph, KEY, names)


def class_facts(graph: Graph) -> list[str]:
    """Return a description of a model's classes (`3 classes: cat, dog, emu`); empty if they are unknown."""
    names = class_names(graph)
    return [f"{counted(len(names), 'class', 'classes')}: {listed(names)}"] if names else []
