"""Dropouts that are always on: ops that drop values by a random mask, and their inputs.

A mask is a comparison of uniform random numbers, `floor(keep + uniform)` or `uniform >= rate`, of any shape (whole
channels, rows, layers). It multiplies the scaled values, or selects between them and zeros.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from ckpttool.graph.contents.averages import is_sound
from ckpttool.graph.contents.constants import single_number
from ckpttool.graph.contents.variable_ops import is_variable
from ckpttool.graph.core import Graph, TensorRef, cached
from ckpttool.graph.ops import ADDS, ENTERS, FORMS, PLACEHOLDERS, RANDOM, SCALES, SELECTS, SHAPED_LIKE

_COMPARES = frozenset({"Floor", "Less", "LessEqual", "Greater", "GreaterEqual"})
_TO_MASK = FORMS | ENTERS | {"Cast", "LogicalNot"}
_DRAWN = FORMS | ENTERS | ADDS | SCALES | {"Cast"}
"""Ops between uniform random numbers and their comparison."""
_SETTING = FORMS | ENTERS | ADDS | SCALES | {"Cast", "Const", "Reciprocal", "Minimum", "Maximum"}
"""Ops from which the rate of a dropout, and the corresponding scale, are computed."""


@dataclass(frozen=True)
class Dropout:
    """A dropout: its output, and the tensor `passes` that replaces it in inference mode; `problem` if that is unknown.

    `setting` are the placeholders from which its rate is computed.
    """

    name: str
    output: TensorRef
    passes: TensorRef
    setting: frozenset[str] = frozenset()
    problem: str | None = None


@cached
def dropouts(graph: Graph) -> Sequence[Dropout]:
    """Return the dropouts of a graph, in graph order."""
    if not is_sound(graph):
        return []
    draws = [name for name, node in graph.nodes.items() if node.op in RANDOM and "Uniform" in node.op]
    found = {each.output: replace(each, name=_scope(each, name)) for name in draws for each in _of_draw(graph, name)}
    return list(found.values())


def _scope(dropout: Dropout, draw: str) -> str:
    """Return a dropout's name: the scope that also contains the random op, else its own op."""
    scope = dropout.name.rpartition("/")[0]
    return scope if scope and draw.startswith(f"{scope}/") else dropout.name


def _of_draw(graph: Graph, draw: str) -> Iterator[Dropout]:
    """Yield the dropouts whose mask is drawn by an op."""
    for compare, setting in _compared(graph, TensorRef(draw, 0), frozenset({draw})):
        masks = [TensorRef(compare, 0)]
        for mask in masks:  # grows by the mask's other forms
            readers = graph.readers.get(mask, [])
            masks += [TensorRef(name, 0) for name in readers if graph.nodes[name].op in _TO_MASK]
        readers_of = [(mask, name) for mask in masks for name in graph.readers.get(mask, []) if "_grad/" not in name]
        filled = {name for _, name in readers_of if graph.nodes[name].op == "Sub"}  # `1 - mask` fills dropped values
        for mask, name in readers_of:
            others = [ref for ref in graph.inputs(name) if ref != mask]
            if graph.nodes[name].op == "Mul" and len(others) == 1 and others[0].op not in filled:
                yield _alpha(graph, name, others[0], filled) if filled else _dropout(graph, name, others[0], setting)
            elif graph.nodes[name].op in SELECTS and (kept := _selected(graph, others)) is not None:
                yield _dropout(graph, name, kept, setting)


def _compared(graph: Graph, ref: TensorRef, drawn: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the ops that compare random numbers with a setting, and the placeholders on which the setting depends."""
    for reader in graph.readers.get(ref, []):
        kind = graph.nodes[reader].op
        others = [other for other in graph.inputs(reader) if other != ref]
        settings = [_placeholders_of(graph, other, drawn) for other in others]
        if None in settings or kind not in _COMPARES | _DRAWN:
            continue
        if kind in _COMPARES:
            yield reader, frozenset[str]().union(*(each or () for each in settings))
        else:
            for compare, further in _compared(graph, TensorRef(reader, 0), drawn):
                yield compare, further.union(*(each or () for each in settings))


def _placeholders_of(graph: Graph, ref: TensorRef, drawn: Collection[str] = ()) -> frozenset[str] | None:
    """Return the placeholders on which a setting depends, or None if the tensor is not a setting."""
    found, todo, seen = set[str](), [ref.op], set[str]()
    while todo:
        name = todo.pop()
        node = graph.nodes[name]
        if name in seen or name in drawn:
            continue
        seen.add(name)
        if node.op in PLACEHOLDERS:
            found.add(name)
        elif is_variable(node) or node.op in {"ReadVariableOp", "Shape"}:
            continue
        elif node.op not in _SETTING:
            return None
        else:
            todo += [each.op for each in graph.inputs(name)]
    return frozenset(found)


def _dropout(graph: Graph, name: str, kept: TensorRef, setting: frozenset[str]) -> Dropout:
    """Return the dropout of an op that multiplies `kept` by a mask, or selects it."""
    output = TensorRef(name, 0)
    passes = _unscaled(graph, kept)
    if passes is None and (after := _scaled_after(graph, output)) is not None:
        output, passes = after, kept
    if passes is None:
        return Dropout(name, output, output, setting, "it drops values without scaling up those that it keeps")
    return Dropout(name, output, passes, setting)


def _alpha(graph: Graph, name: str, kept: TensorRef, filled: Collection[str]) -> Dropout:
    """Return a dropout that replaces dropped values, and scales: `a * (x * mask + alpha * (1 - mask)) + b`."""
    output = TensorRef(name, 0)
    for kinds in (ADDS, SCALES, ADDS):
        readers = [each for each in graph.readers.get(output, []) if "_grad/" not in each]
        if len(readers) != 1 or graph.nodes[readers[0]].op not in kinds:
            return Dropout(name, output, output, problem="what it replaces dropped values with is unknown")
        output = TensorRef(readers[0], 0)
    return Dropout(name, output, kept)


def _selected(graph: Graph, branches: Sequence[TensorRef]) -> TensorRef | None:
    """Return the branch of a Select that is not zeros, or None if it is not exactly one."""
    zeros = [ref for ref in branches if _is_zeros(graph, ref)]
    return next((ref for ref in branches if ref not in zeros), None) if len(zeros) == 1 else None


def _is_zeros(graph: Graph, ref: TensorRef) -> bool:
    node = graph.nodes[ref.op]
    if node.op == "Fill" and len(graph.inputs(ref.op)) == 2:
        node = graph.nodes[graph.inputs(ref.op)[1].op]
    return node.op in SHAPED_LIKE or single_number(node) == 0


def _unscaled(graph: Graph, ref: TensorRef) -> TensorRef | None:
    """Return the tensor of which another is a multiple by a setting, or None."""
    if graph.nodes[ref.op].op not in SCALES or len(graph.inputs(ref.op)) != 2:
        return None
    first, second = graph.inputs(ref.op)
    if _placeholders_of(graph, second) is not None:
        return first
    return second if graph.nodes[ref.op].op == "Mul" and _placeholders_of(graph, first) is not None else None


def _scaled_after(graph: Graph, ref: TensorRef) -> TensorRef | None:
    """Return the scaled tensor if a masked tensor is only read for scaling it, or None."""
    readers = [name for name in graph.readers.get(ref, []) if graph.nodes[name].op not in SHAPED_LIKE]
    forward = [name for name in readers if "_grad/" not in name]
    if len(forward) != 1:
        return None
    scaled = TensorRef(forward[0], 0)
    return scaled if _unscaled(graph, scaled) == ref else None
