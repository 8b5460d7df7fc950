"""SPEC: new layers in Python's call syntax.

    hidden4 = dense(20, relu); outputs = dense(10)

Layers are put on one another in their order, one per line or parted by semicolons. A layer kind is a row of `KINDS`;
activations and initialisers are rows of the tables in `activations.py`.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ckpttool.core.call_text import CallText, ParsedCall, nearest
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.graph.activations import ACTIVATIONS, INITS, Activation
from ckpttool.graph.free_names import FreeNames

SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
"""Names that TensorFlow takes for an outermost scope (`VALID_OP_NAME_REGEX` of python/framework/ops.py)."""

MOST_UNITS = 2**31 - 1


@dataclass(frozen=True)
class LayerSpec:
    """A layer to be built: its name (its scope), its kind, and a value for every parameter of the kind.

    A value is a number, a bool, a pair of sizes, an Activation, the full name of an initialiser, or a word.
    """

    name: str
    kind: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a layer kind: how its value is read, and its default (None: it must be given)."""

    name: str
    read: Callable[[CallText, ast.expr], Any]
    default: Any = None


def parse(text: str) -> list[LayerSpec]:
    r"""Return the layers that a SPEC describes, in order.

    >>> hidden, outputs = parse("hidden4 = dense(20, leaky_relu(0.2), init=he)\noutputs = dense(10)")
    >>> hidden.name, hidden.arguments["units"], hidden.arguments["activation"], hidden.arguments["init"]
    ('hidden4', 20, Activation(name='leaky_relu', parameters={'alpha': 0.2}), 'he_normal')
    >>> outputs.arguments["activation"].name, outputs.arguments["init"], outputs.arguments["bias"]
    ('linear', 'glorot_uniform', True)
    >>> [layer.name for layer in parse("dense(20, relu); dense(10)")]
    ['dense', 'dense_1']

    Raises:
        PlanError: it is no such description; the message has the line, the column and what was found there.
        UnknownName: a layer kind, activation, initialiser or argument has no such name; with the nearest names.
    """
    source = CallText(text, "layers", "a layer such as hidden4 = dense(20, relu)")
    statements = list(source.statements())
    if not statements:
        raise PlanError("no layers, expected some such as: hidden4 = dense(20, relu); outputs = dense(10)")
    layers = [_layer(source, node) for _, node in statements]
    names = _names(source, [(target, kind) for (target, _), (kind, _) in zip(statements, layers, strict=True)])
    return [LayerSpec(name, kind, arguments) for name, (kind, arguments) in zip(names, layers, strict=True)]


def _layer(source: CallText, node: ast.expr) -> tuple[str, dict[str, Any]]:
    call = source.call(node)
    kind = call.name
    if kind not in KINDS:
        raise source.wrong(node, f"no layer kind {kind!r}{nearest(kind, KINDS)}", UnknownName)
    given = source.bound(node, call, [parameter.name for parameter in KINDS[kind]])
    missing = [each.name for each in KINDS[kind] if each.default is None and each.name not in given]
    if missing:
        raise source.wrong(node, f"{kind} needs {', '.join(missing)}")
    return kind, {
        each.name: each.read(source, given[each.name]) if each.name in given else each.default for each in KINDS[kind]
    }


def _names(source: CallText, layers: list[tuple[ast.Name | None, str]]) -> Iterator[str]:
    """Yield the layers' names: as given, else the kind's, numbered as TensorFlow numbers its layers."""
    taken: set[str] = set()
    for target, _ in layers:
        if target is None:
            continue
        if target.id in taken:
            raise source.wrong(target, f"two layers are named {target.id!r}")
        if not SCOPE.fullmatch(target.id):
            raise source.wrong(target, "no TensorFlow scope: expected A-Z, a-z, 0-9 and _, and not _ first")
        taken.add(target.id)
    names = FreeNames(taken)
    for target, kind in layers:
        yield target.id if target else names.free(kind)


def _count(source: CallText, node: ast.expr) -> int:
    value = source.number(node)
    if not isinstance(value, int) or not 0 < value <= MOST_UNITS:
        raise source.wrong(node, f"expected a whole number from 1 to {MOST_UNITS}")
    return value


def _sizes(source: CallText, node: ast.expr) -> tuple[int, int]:
    """Read one size for both directions, or (height, width)."""
    match node:
        case ast.Tuple(elts=[height, width]):
            return _count(source, height), _count(source, width)
    return _count(source, node), _count(source, node)


def _share(source: CallText, node: ast.expr) -> float:
    value = float(source.number(node))
    if not 0 <= value < 1:
        raise source.wrong(node, "expected a number from 0 to below 1")
    return value


def _positive(source: CallText, node: ast.expr) -> float:
    value = float(source.number(node))
    if value < 0:
        raise source.wrong(node, "expected 0 or more")
    return value


def _padding(source: CallText, node: ast.expr) -> str:
    word = source.word(node).upper()
    if word not in ("SAME", "VALID"):
        raise source.wrong(node, "expected same or valid")
    return word


def _init(source: CallText, node: ast.expr) -> str:
    name = source.word(node)
    if name not in INITS:
        raise source.wrong(node, f"no initialiser {name!r}{nearest(name, INITS)}", UnknownName)
    return INITS[name]


def _activation(source: CallText, node: ast.expr) -> Activation:
    call = source.call(node) if isinstance(node, ast.Call) else ParsedCall(source.word(node))
    name = "linear" if call.name == "None" else call.name
    if name not in ACTIVATIONS:
        raise source.wrong(node, f"no activation {name!r}{nearest(name, ACTIVATIONS)}", UnknownName)
    given = source.bound(node, call, list(ACTIVATIONS[name]))
    return Activation(name, ACTIVATIONS[name] | {key: float(source.number(value)) for key, value in given.items()})


_ACTIVATION = Parameter("activation", _activation, Activation("linear"))
_KERNEL = (
    Parameter("init", _init, "glorot_uniform"),
    Parameter("bias", CallText.flag, True),
    Parameter("l1", _positive, 0.0),
    Parameter("l2", _positive, 0.0),
    Parameter("max_norm", _positive, 0.0),
)
"""What a layer with a kernel takes; 0 means no penalty and no bound."""
_STRIDES = Parameter("strides", _sizes, (1, 1))
_POOL = (Parameter("size", _sizes, (2, 2)), Parameter("strides", _sizes, ()), Parameter("padding", _padding, "VALID"))
"""What a pooling layer takes; without strides it goes on by its size."""

KINDS: dict[str, tuple[Parameter, ...]] = {
    "dense": (Parameter("units", _count), _ACTIVATION, *_KERNEL),
    "conv2d": (
        Parameter("filters", _count),
        Parameter("kernel", _sizes, (3, 3)),
        _ACTIVATION,
        _STRIDES,
        Parameter("padding", _padding, "SAME"),
        *_KERNEL,
    ),
    "max_pool": _POOL,
    "avg_pool": _POOL,
    "global_avg_pool": (),
    "flatten": (),
    "batch_norm": (Parameter("momentum", _share, 0.99), Parameter("epsilon", _positive, 1e-3), _ACTIVATION),
    "layer_norm": (Parameter("epsilon", _positive, 1e-3), _ACTIVATION),
    "dropout": (Parameter("rate", _share),),
    "activation": (Parameter("function", _activation),),
}
"""Layer kinds, each with its parameters in the order in which a call may give them."""
