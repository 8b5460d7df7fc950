"""The head of a network: its layers that started at random, beside those that were restored; kept in a collection."""

from collections.abc import Collection, Sequence

from ckpttool.core.names import layer_of
from ckpttool.graph.contents.collections import own_texts, with_own_texts
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.core import Graph

KEY = "ckpttool/head"


def with_fresh_layers(graph: Graph, restored: Collection[str]) -> Graph:
    """Return the graph saying that its layers without restored weights are its head."""
    fresh = [each for each in _weights(graph) if each.name not in restored]
    return with_said_head(graph, list(dict.fromkeys(map(_layer, fresh))))


def said_head(graph: Graph) -> tuple[str, ...]:
    """Return the layers that a graph says are its head, by the scopes of their weights; none where it does not say."""
    return own_texts(graph, KEY)


def with_said_head(graph: Graph, names: Sequence[str]) -> Graph:
    """Return the graph saying that these layers are its head."""
    return with_own_texts(graph, KEY, names)


def head_weights(graph: Graph, logits: str | None) -> list[Variable]:
    """Return the weights of a graph's head: of the layers that it says are, else of the layer of the logits."""
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
