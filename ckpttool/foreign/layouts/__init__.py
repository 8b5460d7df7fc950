"""Layouts: how a layer's weights lie in another framework, by the kind of layer; each is written as a call."""

import ast
from dataclasses import MISSING
from typing import Any

from ckpttool.call_syntax import Source, nearest
from ckpttool.errors import PlanError
from ckpttool.foreign.layouts.attention import Attention
from ckpttool.foreign.layouts.conv import Conv, Depthwise, Grouped, Transposed
from ckpttool.foreign.layouts.dense import Dense, Flatten
from ckpttool.foreign.layouts.gru import Gru
from ckpttool.foreign.layouts.keep import Embedding, Keep, LayerNorm
from ckpttool.foreign.layouts.layout import Layout, options
from ckpttool.foreign.layouts.lstm import Lstm
from ckpttool.foreign.layouts.norm import BatchNorm

LAYOUTS: dict[str, type[Layout]] = {
    "keep": Keep,
    "dense": Dense,
    "flatten": Flatten,
    "conv": Conv,
    "grouped": Grouped,
    "depthwise": Depthwise,
    "transposed": Transposed,
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
    "embedding": Embedding,
    "lstm": Lstm,
    "gru": Gru,
    "attention": Attention,
}
"""Every layout by its name in a rule; its options are the fields of its class."""


def parse_layout(text: str) -> Layout:
    """Read `flatten(channels=64)`, `lstm(torch, tf1)` or a plain `dense`.

    >>> parse_layout("lstm(source=torch, target=tf1, forget_bias=0)")
    Lstm(source='torch', target='tf1', forget_bias=0.0)

    Raises:
        PlanError: it is no call, there is no such layout, an option is missing or cannot be.
        UnknownName: the layout has no such option.
    """
    source = Source(text if "(" in text else f"{text}()", "layout", "a layout such as flatten(channels=64)")
    nodes = [node for _, node in source.statements()]
    if len(nodes) != 1:
        raise PlanError(f"layout {text!r}: expected one such as flatten(channels=64)")
    call = source.call(nodes[0])
    if call.name not in LAYOUTS:
        raise source.wrong(nodes[0], f"no layout {call.name}{nearest(call.name, LAYOUTS)}")
    kind = LAYOUTS[call.name]
    given = source.bound(nodes[0], call, [option.name for option in options(kind)])
    if missing := [each.name for each in options(kind) if each.default is MISSING and each.name not in given]:
        raise source.wrong(nodes[0], f"{call.name} needs {' and '.join(missing)}")
    types = {option.name: option.type for option in options(kind)}
    return kind(**{name: _value(source, node, types[name]) for name, node in given.items()})


def _value(source: Source, node: ast.expr, kind: Any) -> str | int | float:
    """Return an option of its field's type."""
    if kind is str:
        return source.word(node)
    number = source.number(node)
    if kind is int and not isinstance(number, int):
        raise source.wrong(node, "expected a whole number")
    return int(number) if kind is int else float(number)
