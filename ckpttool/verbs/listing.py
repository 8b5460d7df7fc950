"""Listings that need a checkpoint and, where one lies beside it, its graph: variables by kind, layers by scope."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError, GraphError, UnknownName
from ckpttool.core.names import Pattern, scopes, suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats.tensorflow.object_graph import EXPORTED_TWICE
from ckpttool.graph.core import Graph
from ckpttool.model.opening import graph_beside, graph_path, open_either
from ckpttool.remote.paths import is_remote

Row = dict[str, Any]
Talk = Callable[[str], None]
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


def kinds_of(tensors: checkpoint.Checkpoint, say: Talk, tags: Collection[str] | None = None) -> dict[str, str]:
    """Return each tensor's kind: what the graph says where one lies beside the checkpoint, else by the names.

    An object graph knows what the optimizer's are; the graph of a TensorFlow 2 model has only names.
    """
    found: dict[str, str] = dict(tensors.kinds())
    if OBJECT_GRAPH in tensors:
        return found
    try:
        graph = graph_beside(tensors.path, tags)
        if graph is None:
            return found
        from ckpttool.graph.contents.variables import variables

        described = variables(graph).values()
    except (FormatError, GraphError) as error:
        say(f"kinds are told by the names alone: {error}")
        return found
    return found | {variable.name: variable.kind for variable in described if variable.name in found}


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


def names_taken(pattern: str | None, kind: Mapping[str, str], slots: bool) -> Sequence[str]:
    """Return the names that a pattern takes: weights, with `slots` of every kind; all names where there is none.

    Raises:
        UnknownName: it takes nothing.
    """
    if pattern is None:
        return list(kind)
    return Pattern(pattern).select([name for name, of in kind.items() if slots or of == "weight"])


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
