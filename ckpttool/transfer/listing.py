"""Listings that need a checkpoint and, where one lies beside it, its graph: variables by kind, layers by scope."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.errors import FormatError, GraphError, MissingFile, UnknownName
from ckpttool.graph import files
from ckpttool.graph.layers import layers as graph_layers
from ckpttool.graph.variables import variables
from ckpttool.kinds import OBJECT_VALUE, kinds
from ckpttool.selection import Pattern, suggestion
from ckpttool.surgery.summary import has_numbers, summarize
from ckpttool.tensors import Tensor

Row = dict[str, Any]
Talk = Callable[[str], None]
STATISTICS = ("mean", "std", "min", "max", "zeros", "nan", "inf")


def variable_rows(path: Path, pattern: str | None, slots: bool, statistics: bool, say: Talk) -> Iterator[Row]:
    """Yield `{"name", "shape", "dtype", "bytes", "kind"}` of a checkpoint's tensors, by name.

    A pattern takes weights, with `slots` the optimizer's tensors and step counters too; `statistics` adds those of
    the values, which are read for it. `say` is told when a graph is there and cannot be read.

    Raises:
        UnknownName: the pattern takes nothing.
    """
    tensors = checkpoint.open(path)
    kind = kinds_of(tensors, say)
    chosen = list(tensors) if pattern is None else _chosen(pattern, kind, slots)
    for name in chosen:
        row = _row(tensors[name], kind[name])
        yield row | _statistics(tensors[name]) if statistics else row


def kinds_of(tensors: checkpoint.Checkpoint, say: Talk) -> dict[str, str]:
    """Return each tensor's kind: what the graph says where one lies beside the checkpoint, else by the names."""
    found: dict[str, str] = dict(kinds(tensors))
    try:
        graph = files.load(graph_path(tensors.path))
        described = variables(graph).values()
    except MissingFile:
        return found
    except (FormatError, GraphError) as error:
        say(f"kinds are told by the names alone: {error}")
        return found
    return found | {variable.name: variable.kind for variable in described if variable.name in found}


def graph_path(prefix: Path) -> Path:
    """Return where the graph of a checkpoint's prefix lies: `PREFIX.meta`, or the SavedModel that it is part of."""
    if prefix.name == "variables" and prefix.parent.name == "variables":
        return prefix.parent.parent
    return Path(f"{prefix}.meta")


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

    A checkpoint without a graph has its weights' scopes for layers, in the order of their names, without outputs.
    """
    try:
        graph = files.load(path, tags)
    except MissingFile:
        return _scope_rows(checkpoint.open(path))
    return [
        {"name": found.name, "variables": found.variables, "parameters": found.parameters, "output": found.output}
        for found in graph_layers(graph)
    ]


def _chosen(pattern: str, kind: Mapping[str, str], slots: bool) -> Sequence[str]:
    return Pattern(pattern).select([name for name, of in kind.items() if slots or of == "weight"])


def _row(tensor: Tensor, kind: str) -> Row:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype),
        "bytes": tensor.nbytes,
        "kind": kind,
    }


def _statistics(tensor: Tensor) -> Row:
    """Return a tensor's statistics, None for strings and variants."""
    if not has_numbers(tensor):
        return dict.fromkeys(STATISTICS)
    found = summarize(tensor).row()
    return {name: found[name] for name in STATISTICS}


def _scope_rows(tensors: Mapping[str, Tensor]) -> list[Row]:
    """Return the scopes of a checkpoint's weights as layers."""
    scopes: dict[str, list[Tensor]] = {}
    for name, kind in kinds(tensors).items():
        if kind == "weight":
            path = name.partition(OBJECT_VALUE)[0]
            scopes.setdefault(path.rpartition("/")[0] or path, []).append(tensors[name])
    return [
        {
            "name": scope,
            "variables": tuple(tensor.name for tensor in members),
            "parameters": sum(tensor.spec.elements for tensor in members),
            "output": None,
        }
        for scope, members in scopes.items()
    ]
