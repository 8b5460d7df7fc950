"""Listings that need a checkpoint and, where one lies beside it, its graph: variables by kind, layers by scope."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.errors import UnknownName
from ckpttool.core.names import scopes, suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.object_graph import EXPORTED_TWICE
from ckpttool.graph.core import Graph
from ckpttool.model.resolve import Talk, graph_beside, graph_path, kinds_of, names_taken, open_either
from ckpttool.remote.paths import is_remote

Row = dict[str, Any]
STATISTICS = ("mean", "std", "min", "max", "zeros", "nan", "inf", "norm")


def variable_rows(
    path: Path, pattern: str | None, slots: bool, statistics: bool, say: Talk, tags: Collection[str] | None = None
) -> Iterator[Row]:
    """Yield `{"name", "shape", "dtype", "bytes", "kind"}` of a checkpoint's tensors, by name.

    A pattern takes weights, with `slots` the optimizer's tensors and step counters too; `statistics` adds those of
    the values, which are read for it. A graph without a checkpoint has its variables listed, and no values. `say` is
    told of that, and when a graph is there and cannot be read.

    Raises:
        UnknownName: the pattern takes nothing.
    """
    tensors = open_either(path, tags)
    if isinstance(tensors, Graph):
        say(f"{path}: a graph without a checkpoint; these are its variables")
        yield from _graph_rows(tensors, pattern, slots)
        return
    kind = _kinds_by_names(tensors, say) if is_remote(path) else kinds_of(tensors, say, tags)
    for name in names_taken(pattern, kind, slots):
        row = tensors[name].spec.row() | {"kind": kind[name]}
        yield row | _statistics(tensors[name]) if statistics else row


def _kinds_by_names(tensors: checkpoint.Checkpoint, say: Talk) -> Mapping[str, str]:
    """Return each tensor's kind without the graph: on a server it is often larger than the index that is listed."""
    if path := graph_path(tensors.path):
        say(f"kinds are told by the names alone: {path} is not fetched for a list")
    return tensors.kinds()


def find_tensor(path: Path, name: str) -> Tensor:
    """Return a checkpoint's tensor.

    Raises:
        UnknownName: it has none of that name; the message has the nearest.
    """
    tensors = checkpoint.open(path)
    if name not in tensors:
        raise UnknownName(f"{path}: no tensor named {name}{suggestion(name, tensors)}")
    return tensors[name]


def layer_rows(path: Path, tags: Collection[str] | None = None) -> list[Row]:
    """Return `{"name", "variables", "parameters", "output"}` of a model's layers, in data-flow order.

    A checkpoint without a graph has its weights' scopes for layers, in the order of their names, without outputs. What
    Keras 3 lists of an exported model's variables once more is no layer.
    """
    from ckpttool.graph.contents.layers import layers as graph_layers
    from ckpttool.graph.contents.saved_as import named_as_saved

    model = open_either(path, tags)
    if not isinstance(model, Graph):
        beside = graph_beside(model.path, tags)
        if beside is None:
            return _scope_rows(model)
        model = named_as_saved(beside, model)
    return [asdict(layer) for layer in graph_layers(model) if not _is_copy(layer.name)]


def _graph_rows(graph: Graph, pattern: str | None, slots: bool) -> Iterator[Row]:
    """Yield the rows of a graph's variables; a shape that it does not say is None."""
    from ckpttool.graph.contents.variables import variables

    found = variables(graph)
    for name in names_taken(pattern, {name: variable.kind for name, variable in found.items()}, slots):
        variable = found[name]
        shape = None if variable.shape is None else list(variable.shape)
        nbytes = None if shape is None else prod(shape) * variable.dtype.itemsize
        yield {"name": name, "shape": shape, "dtype": str(variable.dtype), "bytes": nbytes, "kind": variable.kind}


def _statistics(tensor: Tensor) -> Row:
    """Return a tensor's statistics, None for strings and variants."""
    from ckpttool.surgery.summary import has_numbers, summarize  # only here are values read, and NumPy needed

    if not has_numbers(tensor):
        return dict.fromkeys(STATISTICS)
    found = summarize(tensor).row()
    return {name: found[name] for name in STATISTICS}


def _is_copy(name: str) -> bool:
    return f"{name}/".startswith(EXPORTED_TWICE)


def _scope_rows(tensors: checkpoint.Checkpoint) -> list[Row]:
    """Return the scopes of a checkpoint's weights as layers."""
    weights = [name for name, kind in tensors.kinds().items() if kind == "weight" and not _is_copy(name)]
    return [
        {
            "name": scope,
            "variables": tuple(members),
            "parameters": sum(tensors[name].spec.elements for name in members),
            "output": None,
        }
        for scope, members in scopes(weights).items()
    ]
