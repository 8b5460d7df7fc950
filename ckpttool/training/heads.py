"""Heads: new layers added above a layer of a model; the layers above it are removed."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.core.patterns import Pattern
from ckpttool.graph.contents.head import head_weights, with_fresh_layers
from ckpttool.graph.contents.layers import Layer, layers
from ckpttool.graph.contents.preprocessing import preprocessing_text
from ckpttool.graph.contents.signatures import signatures, without_signatures
from ckpttool.graph.contents.stored import chosen_weights, stored_tensors
from ckpttool.graph.contents.tops import top_of
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.graph.rewrite.feeding import Feeding, feeding
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import without_training
from ckpttool.graph.rewrite.whole_rows import with_whole_rows
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.model.model import Model
from ckpttool.runtime.build import HeadPlacement, with_head, with_training
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import parse
from ckpttool.training.preprocessing import without_labels

LOSS = "loss/loss:0"
"""The name of the loss in a graph with a head added here."""


@dataclass(frozen=True)
class Place:
    """Where a head is added: a layer, its output tensor, and the graph that rows are fed to."""

    top: Layer
    output: str
    fed: Feeding
    why: str = ""
    """A description of the tensor if it is not the layer's own output."""


@dataclass(frozen=True)
class Headed:
    """A graph with a head: the restored variables that it keeps, the frozen ones, and notes."""

    graph: Graph
    kept: tuple[str, ...]
    frozen: tuple[str, ...]
    notes: tuple[str, ...]


def headed(
    model: Model,
    restored: Collection[str],
    head: str,
    place: Place,
    *,
    frozen: Pattern | None = None,
    recipe: Recipe | None = None,
    seed: int,
    objective: Objective,
) -> Headed:
    """Add a head to a model; without a recipe the graph gets no training op.

    Raises:
        PlanError: no restored variable is below the head.
    """
    graph = with_fresh_layers(_on_top(model, head, place, seed, objective), restored)
    frozen_names = chosen_weights(graph, frozen) if frozen else []
    still = Frozen.of(graph, frozen_names, [LOSS]) if frozen_names else None
    graph = still.applied() if still else graph
    graph = graph if recipe is None else _with_training_op(graph, recipe, seed)
    held = stored_tensors(graph)
    kept, cut = [name for name in restored if name in held], [name for name in restored if name not in held]
    if restored and not kept:
        raise PlanError(
            f"{model.path}: nothing to restore: {', '.join(cut)} lie above {place.top.name}, where the head is added"
        )
    notes = (*place.fed.notes, *(still.notes if still else ()), *_about_head(model, place, cut))
    return Headed(graph, tuple(kept), tuple(frozen_names), notes)


def _on_top(model: Model, head: str, place: Place, seed: int, objective: Objective) -> Graph:
    """Return the graph below a place with a head added, without the labels of the removed part."""
    top, output = place.top, place.output
    trunk = trunk_of(place)
    labels = "y" if "y" not in trunk.nodes else "labels"
    # The scope of `dnn/hidden3/Relu:0`, the output of `hidden3`, is `dnn`: the new layers' ops go there too.
    scope, within, _ = f"/{TensorRef.parse(output).op}".partition(f"/{top.name}/")
    training = find_roles(trunk, needed=()).training
    put = HeadPlacement(output, scope.strip("/") if within else "", labels, training)
    old_labels = find_roles(model.graph, needed=()).labels if preprocessing_text(model.graph) else None
    return without_labels(with_head(trunk, put, parse(head, "head"), objective, seed), old_labels)


def trunk_of(place: Place) -> Graph:
    """Return the graph below a place, without its training ops."""
    return importable(without_training(without_signatures(place.fed.graph), [place.output]))


def _with_training_op(graph: Graph, recipe: Recipe, seed: int) -> Graph:
    """Return a graph with a training op for all layers that are not frozen; newly initialised ones are marked."""
    recipe.require_rates()
    trained = [variable.op for variable in variables(graph).values() if variable.trainable]
    new = [variable.op for variable in head_weights(graph, None)]
    return with_training(importable(graph), LOSS, trained, recipe, seed, head=new)


def _about_head(model: Model, place: Place, cut: Sequence[str]) -> Iterator[str]:
    """Yield notes: where the head is added, what is removed, and which of the matched variables are removed."""
    below = place.fed.graph.ancestors(TensorRef.parse(place.output).op)
    outputs = {layer.name: layer.output for layer in layers(place.fed.graph)}
    left = [name for name, tensor in outputs.items() if tensor and TensorRef.parse(tensor).op not in below]
    if place.why:
        yield f"the head is added on {place.output}, {place.why}"
    if cut:
        yield f"removed, because they lie above {place.top.name}, although selected: {', '.join(cut)}"
    if left:
        yield f"removed with the old loss, training op and slots: {', '.join(left)}"
    if signed := list(signatures(model.graph)):
        yield f"removed with the old outputs: the signatures {listed(signed)}"


def restored_variables(model: Model, layers: Pattern) -> list[str]:
    """Return the weights that match a pattern, each of which has a value in the checkpoint.

    Raises:
        UnknownName: the pattern matches nothing.
        PlanError: a value is missing in the checkpoint.
    """
    names = chosen_weights(model.graph, layers)
    missing = [name for name in names if name not in model.checkpoint]
    if missing:
        raise PlanError(f"{model.path}: the graph has {missing[0]}, the checkpoint does not")
    return names


def place_at(graph: Graph, layer: str, tensor: str) -> Place:
    """Return the place of a head above a tensor, which is the output of a layer."""
    return Place(Layer(layer, (), 0, tensor), tensor, feeding(with_whole_rows(graph, [tensor]), tops=[tensor]))


def place_above(graph: Graph, restored: Collection[str], after: str | None, inputs: Sequence[str]) -> Place:
    """Return where a head is added (see `top_of`), in the graph with placeholders in place of its input pipeline."""
    top, output, why = top_of(graph, restored, after)
    return Place(top, output, feeding(with_whole_rows(graph, [output]), inputs, tops=[output]), why)
