"""Names of classes: what the numbers of labels stand for, kept in a collection to go where the graph goes."""

from collections.abc import Sequence

from ckpttool.core.counts import counted
from ckpttool.core.names import listed
from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.core import Graph

KEY = "ckpttool/classes"


def class_names(graph: Graph) -> tuple[str, ...]:
    """Return the names of the classes in the order of their numbers, none where they are not known."""
    return own_texts(graph, KEY)


def with_class_names(graph: Graph, names: Sequence[str]) -> Graph:
    """Return the graph with other names, or without any."""
    return with_own_texts(graph, KEY, names)


def class_facts(graph: Graph) -> list[str]:
    """Return what is said of a model's classes: `3 classes: cat, dog, emu`."""
    names = class_names(graph)
    return [f"{counted(len(names), 'class', 'classes')}: {listed(names)}"] if names else []
