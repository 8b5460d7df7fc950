"""Vars: the tensors of a checkpoint, or the variables of a graph that has none."""

from collections.abc import Collection, Iterator
from math import prod
from pathlib import Path
from typing import Any

from ckpttool.core.notes import notes_about
from ckpttool.graph.core import Graph
from ckpttool.model.resolve import Talk, described, graph_path, names_taken, open_either
from ckpttool.remote.paths import is_remote

STATISTICS = ("mean", "std", "min", "max", "zeros", "nan", "inf", "norm")


def variable_rows(
    path: Path, pattern: str | None, slots: bool, statistics: bool, say: Talk, tags: Collection[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Yield `{"name", "shape", "dtype", "bytes", "kind"}` of a checkpoint's tensors, by name.

    For a graph without a checkpoint the variables are listed, without values. `say` receives notes on that, on other
    content of the file, and on a graph beside it that cannot be read.

    Args:
        path: A checkpoint, or a graph.
        pattern: A pattern of the weights to list; None lists everything.
        slots: Whether the pattern also matches the optimizer's tensors and step counters.
        statistics: Whether to read the values and add `STATISTICS`; None for strings and variants.
        say: A function that receives notes for the user.
        tags: The tags of the graph in a SavedModel with several.

    Raises:
        UnknownName: the pattern matches nothing.
    """
    tensors = open_either(path, tags)
    if isinstance(tensors, Graph):
        say(f"{path}: a graph without a checkpoint; these are its variables")
        yield from _graph_rows(tensors, pattern, slots)
        return
    if pattern is None:
        for note in notes_about("skipped, as it is not a tensor that is read", tensors.left_out, most=3):
            say(note)
    if is_remote(path):  # on a server the graph is often larger than the index that is listed
        kinds = tensors.kinds()
        if graph := graph_path(tensors.path):
            say(f"kinds are determined only from the names: {graph} is not fetched for a list")
    else:
        kinds = described(tensors, say, tags).kinds()
    for name in names_taken(pattern, kinds, slots):
        tensor = tensors[name]
        row = tensor.spec.row() | {"kind": kinds[name]}
        if statistics:
            from ckpttool.surgery.summary import has_numbers, summarize  # only here are values read, and NumPy needed

            summary = summarize(tensor).row() if has_numbers(tensor) else dict.fromkeys(STATISTICS)
            row |= {key: summary[key] for key in STATISTICS}
        yield row


def _graph_rows(graph: Graph, pattern: str | None, slots: bool) -> Iterator[dict[str, Any]]:
    """Yield the rows of a graph's variables; unknown shapes are None."""
    from ckpttool.graph.contents.variables import variables

    described = variables(graph)
    for name in names_taken(pattern, {name: variable.kind for name, variable in described.items()}, slots):
        variable = described[name]
        shape = None if variable.shape is None else list(variable.shape)
        nbytes = None if shape is None else prod(shape) * variable.dtype.itemsize
        yield {"name": name, "shape": shape, "dtype": str(variable.dtype), "bytes": nbytes, "kind": variable.kind}
