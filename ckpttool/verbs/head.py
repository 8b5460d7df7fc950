"""A new head on an old graph: cut above a layer, new layers, loss, accuracy and training op on the cut."""

from collections.abc import Collection

from ckpttool.core.errors import GraphError, UnknownName
from ckpttool.core.names import Pattern, suggestion
from ckpttool.graph.contents.layers import Layer, layers
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import without_training
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.runtime.build import Place, with_head, with_training
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import parse

LOSS = "loss/loss:0"
"""The loss of a graph with a head of ours."""


def layer_to_build_on(graph: Graph, restored: Collection[str], after: str | None) -> Layer:
    """Return the layer named `after`, else the one furthest along the data flow that has a restored variable.

    Raises:
        UnknownName: there is no such layer; the message names the nearest, or all.
        GraphError: its output tensor is not known.
    """
    described = layers(graph)
    found = [
        layer for layer in described if layer.name == after or (not after and set(layer.variables) & set(restored))
    ]
    if not found:
        names = [layer.name for layer in described]
        nearest = suggestion(after or "", names) or f"; layers: {', '.join(names)}"
        raise UnknownName(f"{graph.source}: no layer {after}{nearest}")
    if found[-1].output is None:
        raise GraphError(
            f"{graph.source}: the output of the layer {found[-1].name} is not known; `after` names another"
        )
    return found[-1]


def layers_above(graph: Graph, top: Layer) -> list[str]:
    """Return the layers that a cut above `top` leaves behind."""
    below = graph.ancestors(TensorRef.parse(str(top.output)).op)
    return [layer.name for layer in layers(graph) if layer.output and TensorRef.parse(layer.output).op not in below]


def with_new_head(
    graph: Graph, top: Layer, head: str, frozen: Pattern | None, recipe: Recipe, seed: int, objective: Objective
) -> tuple[Graph, list[str]]:
    """Return the graph below a layer's output with new layers on it, and the names of what is frozen.

    Raises:
        PlanError: the new layers are not in the language of SPEC, or do not fit on the output.
        UnknownName: the pattern takes nothing.
    """
    trunk = importable(without_training(graph, [str(top.output)]))
    labels = "y" if "y" not in trunk.nodes else "labels"
    training = find_roles(trunk, needed=()).training
    place = Place(str(top.output), _scope_of(top), labels, training)
    whole = with_head(trunk, place, parse(head), objective, seed)
    weights = [name for name, stored in stored_tensors(whole).items() if stored.kind == "weight"]
    chosen = frozen.select(weights) if frozen else []
    if chosen:
        whole = Frozen.of(whole, chosen, [LOSS]).applied()
    trained = [variable.op for variable in variables(whole).values() if variable.trainable]
    return with_training(importable(whole), LOSS, trained, recipe, seed), chosen


def _scope_of(layer: Layer) -> str:
    """Return the scope that a layer's ops lie in: `dnn` for `hidden3` with its output `dnn/hidden3/Relu:0`."""
    op = TensorRef.parse(layer.output or "").op
    scope, found, _ = f"/{op}".partition(f"/{layer.name}/")
    return scope.strip("/") if found else ""
