"""Layouts: how a layer's weights lie in another framework, by the kind of layer; each is written as a call."""

import ast
from dataclasses import MISSING
from typing import Any

from ckpttool.core.call_text import CallText, nearest
from ckpttool.core.errors import PlanError
from ckpttool.foreign.layouts.attention import Attention
from ckpttool.foreign.layouts.conv import Conv, Depthwise, Grouped, Transposed
from ckpttool.foreign.layouts.dense import Dense, Embedding, Flatten, Pointwise
from ckpttool.foreign.layouts.layout import Keep, Layout, options
from ckpttool.foreign.layouts.norm import BatchNorm, CaffeBatchNorm, LayerNorm
from ckpttool.foreign.layouts.recurrent import Gru, Lstm

__all__ = ["LAYOUTS", "Layout", "parse_layout"]

LAYOUTS: dict[str, type[Layout]] = {
    "keep": Keep,
    "dense": Dense,
    "flatten": Flatten,
    "pointwise": Pointwise,
    "conv": Conv,
    "grouped": Grouped,
    "depthwise": Depthwise,
    "transposed": Transposed,
    "batch_norm": BatchNorm,
    "caffe_batch_norm": CaffeBatchNorm,
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
    source = CallText(text if "(" in text else f"{text}()", "layout", "a layout such as flatten(channels=64)")
    statements = list(source.statements())
    if len(statements) != 1 or statements[0][0] is not None:
        raise PlanError(f"layout {text!r}: expected one such as flatten(channels=64)")
    node = statements[0][1]
    call = source.call(node)
    if call.name not in LAYOUTS:
        raise source.wrong(node, f"no layout {call.name}{nearest(call.name, LAYOUTS)}")
    kind = LAYOUTS[call.name]
    known = {option.name: option for option in options(kind)}
    given = source.bound(node, call, list(known))
    if missing := [name for name in known if known[name].default is MISSING and name not in given]:
        raise source.wrong(node, f"{call.name} needs {' and '.join(missing)}")
    return kind(**{name: _value(source, value, known[name].type) for name, value in given.items()})


def _value(source: CallText, node: ast.expr, kind: Any) -> str | int | float:
    """Return an option of its field's type."""
    if kind is str:
        return source.word(node)
    number = source.number(node)
    if kind is float:
        return float(number)
    if not isinstance(number, int):
        raise source.wrong(node, "expected a whole number")
    return number
