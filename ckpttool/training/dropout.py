"""Dropout put behind the trained hidden layers of a graph that was built without, or with other rates."""

from collections.abc import Collection
from dataclasses import replace

from ckpttool.core.by_pattern import ByPattern
from ckpttool.core.errors import PlanError
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.editing import Draft
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.roles.roles import Roles
from ckpttool.runtime.build import with_dropout

SUFFIX = "dropout"
"""What the scope of a layer's dropout is called, beside the op that it is put behind."""


def put_dropout(graph: Graph, roles: Roles, frozen: Collection[str], rates: str, seed: int) -> tuple[Graph, Roles]:
    """Return the graph with dropout behind its trained hidden layers, by the rates of an option, and its roles.

    What read a layer's output reads what dropout leaves of it. It follows the graph's training switch, or a new
    placeholder `training`.

    Raises:
        PlanError: there is no trained hidden layer, a rate is none, or a layer has dropout already.
    """
    outputs = hidden_outputs(graph, roles, frozen)
    if not outputs:
        raise PlanError(f"{graph.source}: --dropout has no trained hidden layer to be put behind")
    said = ByPattern.parse(rates, "--dropout", _rate).of(outputs)
    places = {_scope(outputs[name]): (outputs[name], rate) for name, rate in said.items() if rate}
    for name in said:
        if f"/{SUFFIX}/" in outputs[name]:
            raise PlanError(f"{graph.source}: {name} has dropout already; train with it, without --dropout")
    built, made, training = with_dropout(importable(graph), places, roles.training, seed)
    moved = {TensorRef.parse(old): TensorRef.parse(new) for old, new in made.items()}
    draft = Draft(built)
    draft.redirect(moved, graph.nodes.keys() & built.nodes.keys())
    return draft.sealed(), replace(roles, training=training)


def hidden_outputs(graph: Graph, roles: Roles, frozen: Collection[str]) -> dict[str, str]:
    """Return the output tensors of the hidden layers with a trained kernel, by the layers' names."""
    below, stored = graph.ancestors(TensorRef.parse(str(roles.loss)).op), stored_tensors(graph)
    kernels = {name for name, each in stored.items() if each.trainable and len(each.shape or ()) > 1} - set(frozen)
    found = {
        layer.name: layer.output
        for layer in layers(graph)
        if layer.output and TensorRef.parse(layer.output).op in below
    }
    last = list(found)[-1:]  # the logits' own
    trained = {layer.name for layer in layers(graph) if kernels & set(layer.variables)}
    return {name: output for name, output in found.items() if name in trained and name not in last}


def _scope(output: str) -> str:
    return f"{TensorRef.parse(output).op}/{SUFFIX}"


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate < 1:
        raise ValueError(text)
    return rate
