"""The head of a network: its newly initialised layers, as opposed to restored ones, in a collection of the graph."""

from collections.abc import Collection, Sequence

from ckpttool.core.names import layer_of
from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph

KEY = "ckpttool/head"


def with_fresh_layers(graph: Graph, restored: Collection[str]) -> Graph:
    """Return the graph with its layers without restored weights declared as its head."""
    fresh = [each for each in _weights(graph) if each.name not in restored]
    return with_said_head(graph, list(dict.fromkeys(map(_layer, fresh))))


def said_head(graph: Graph) -> tuple[str, ...]:
    """Return the declared layers of a graph's head, by the scopes of their weights; empty if it declares none."""
    return own_texts(graph, KEY)


def with_said_head(graph: Graph, names: Sequence[str]) -> Graph:
    """Return the graph with these layers declared as its head."""
    return with_own_texts(graph, KEY, names)


def head_weights(graph: Graph, logits: str | None) -> list[Variable]:
    """Return the weights of a graph's head: those of the declared layers, else of the layer of the logits."""
    weights, layers_said = _weights(graph), said_head(graph)
    if said := [variable for variable in weights if _layer(variable) in layers_said]:
        return said
    top = next((layer for layer in layers(graph) if logits and layer.output == logits), None)
    return [variable for variable in weights if top and variable.name in top.variables]


def head_layers(graph: Graph, logits: str | None) -> list[str]:
    """Return the layers of a graph's head by the scopes of their weights, in graph order."""
    return list(dict.fromkeys(map(_layer, head_weights(graph, logits))))


def _weights(graph: Graph) -> list[Variable]:
    return [variable for variable in variables(graph).values() if variable.kind == "weight"]


def _layer(variable: Variable) -> str:
    return layer_of(variable.own_name) or variable.own_name
