"""Batch normalisation in training: what the moving averages of each layer do, said by pattern."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ckpttool.core.by_pattern import ByPattern
from ckpttool.core.errors import PlanError
from ckpttool.core.names import layer_of
from ckpttool.graph.contents.variables import Variable
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.frozen import changed_variables

MODES = ("train", "freeze", "stats")


@dataclass(frozen=True)
class Averages:
    """What `--bn` says: averages that stay (and normalise) or move whatever their layer does; weights that stay."""

    still: tuple[str, ...] = ()
    moving: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()


def averages(graph: Graph, weights: Mapping[str, Variable], modes: str | None) -> Averages:
    """Read `--bn`: one of `MODES` for all layers that have moving averages, or PATTERN=MODE pairs.

    In `train` a layer normalises by the batch when training, and its averages move; in `freeze` it normalises by its
    averages, which stay; `stats` is `train` with the layer's own weights (gamma and beta) fixed. A layer that is not
    spoken of has `freeze` where its weights are frozen, else `train`.

    Raises:
        PlanError: the graph has no moving averages, or there is no such mode.
        UnknownName: a pattern takes none of them.
    """
    if modes is None:
        return Averages()
    found = _moving_averages(graph, weights)
    if not found:
        raise PlanError(f"{graph.source}: --bn has nothing to say: no layer has moving averages that training moves")
    said = ByPattern.parse(modes, "--bn", _mode).of(found)
    return Averages(
        tuple(name for name, mode in said.items() if mode == "freeze"),
        tuple(name for name, mode in said.items() if mode != "freeze"),
        tuple(dict.fromkeys(own for name, mode in said.items() if mode == "stats" for own in _own(name, weights))),
    )


def _mode(text: str) -> str:
    if text not in MODES:
        raise ValueError(text)
    return text


def _moving_averages(graph: Graph, weights: Mapping[str, Variable]) -> list[str]:
    """Return the weights that no gradient changes, but some op of the training."""
    changed: Collection[str] = changed_variables(graph)
    return [name for name, variable in weights.items() if not variable.trainable and variable.op in changed]


def _own(average: str, weights: Mapping[str, Variable]) -> list[str]:
    """Return the trainable weights beside a moving average that have its shape: gamma and beta."""
    scope, shape = layer_of(average), weights[average].shape
    return [
        name
        for name, variable in weights.items()
        if variable.trainable and layer_of(name) == scope and variable.shape == shape
    ]
