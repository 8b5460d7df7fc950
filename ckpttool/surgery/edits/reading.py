"""What an edit's option says, read: `PATTERN=VALUE`, where a value is numbers or a call such as `to(20, axis=1)`."""

import ast
import re
from pathlib import Path
from typing import Any

from ckpttool.core.call_text import CallText, nearest
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.tensors import BY_NAME
from ckpttool.surgery.edits.fills import FILLS

Arguments = dict[str, Any]

_CALL = re.compile(r"(.+?)=\s*([a-z]+\s*\(.*\))", re.DOTALL)
"""A pattern and a call; the call's own keywords have their equals signs inside of its brackets."""


def pattern(text: str) -> Arguments:
    """Read a pattern alone."""
    return {"pattern": text}


def prefix(text: str) -> Arguments:
    """Read a scope."""
    return {"prefix": text}


def rule(text: str) -> Arguments:
    """Read `RE=>NEW`; spaces around the arrow do not count.

    >>> rule("fc1 => hidden1")
    {'pattern': 'fc1', 'new': 'hidden1'}
    """
    old, arrow, new = (part.strip() for part in text.partition("=>"))
    if not (old and arrow and new) or "=>" in new:
        raise PlanError("expected 'RE=>NEW'")
    return {"pattern": old, "new": new}


def dtype(text: str) -> Arguments:
    """Read `DTYPE` or `PATTERN=DTYPE`."""
    if text in BY_NAME or "=" not in text:
        return {"dtype": text}
    chosen, name = _pair(text, "PATTERN=DTYPE")
    return {"pattern": chosen, "dtype": name}


def order(text: str) -> Arguments:
    """Read `RE=1,0`."""
    chosen, value = _pair(text, "RE=1,0")
    return {"pattern": chosen, "order": _whole_numbers(value, "axes such as 1,0")}


def shape(text: str) -> Arguments:
    """Read `RE=784,300`; nothing after the equals sign is the shape of a scalar."""
    chosen, value = _pair(text, "RE=784,300")
    return {"pattern": chosen, "shape": _whole_numbers(value, "sizes such as 784,300") if value else ()}


def part(text: str) -> Arguments:
    """Read `RE=axis:start:stop`; start or stop may be missing.

    >>> part("embeddings=0::100")
    {'pattern': 'embeddings', 'axis': 0, 'start': None, 'stop': 100}
    """
    chosen, value = _pair(text, "RE=axis:start:stop")
    found = re.fullmatch(r"(-?\d+):(-?\d+)?:(-?\d+)?", value)
    if not found:
        raise PlanError(f"{value!r} is no part of a tensor, expected axis:start:stop such as 0:0:100")
    axis, start, stop = (None if each is None else int(each) for each in found.groups())
    return {"pattern": chosen, "axis": axis, "start": start, "stop": stop}


def padding(text: str) -> Arguments:
    """Read `RE=axis:before,after[:value]`.

    >>> padding("outputs=-1:0,2:0.5")
    {'pattern': 'outputs', 'axis': -1, 'before': 0, 'after': 2, 'value': 0.5}
    """
    chosen, value = _pair(text, "RE=axis:before,after[:value]")
    found = re.fullmatch(r"(-?\d+):(\d+),(\d+)(?::(.+))?", value)
    if not found:
        raise PlanError(f"{value!r} is no padding, expected axis:before,after or axis:before,after:value such as 0:0,2")
    axis, before, after = (int(each) for each in found.groups()[:3])
    return {"pattern": chosen, "axis": axis, "before": before, "after": after, "value": _number(found[4] or "0")}


def size(text: str) -> Arguments:
    """Read `RE = to(SIZE, axis=0, fill=mean)`; `fill=rows([3, 5])` names the rows to copy.

    >>> size("embeddings/.* = to(32000, fill=rows([3, 5]))")
    {'pattern': 'embeddings/.*', 'to': 32000, 'fill': 'rows', 'rows': [3, 5]}
    """
    chosen, source, node = _call(text, "RE = to(32000, axis=0, fill=mean)")
    call = source.call(node)
    if call.name != "to":
        raise source.wrong(node, "expected to(SIZE)")
    given = source.bound(node, call, ["to", "axis", "fill"])
    if "to" not in given:
        raise source.wrong(node, "to needs a size")
    found: Arguments = {"pattern": chosen, "to": _whole(source, given["to"])}
    if found["to"] < 0:
        raise source.wrong(given["to"], "expected a size, 0 or more")
    if "axis" in given:
        found["axis"] = _whole(source, given["axis"])
    return found | (_fill(source, given["fill"]) if "fill" in given else {})


def sparsity(text: str) -> Arguments:
    """Read `RE=0.5`, a share, or `RE=magnitude(1e-3)`, a bound.

    >>> sparsity("hidden.*=0.5"), sparsity("hidden.* = magnitude(1e-3)")
    ({'pattern': 'hidden.*', 'share': 0.5}, {'pattern': 'hidden.*', 'below': 0.001})
    """
    if not text.rstrip().endswith(")"):
        chosen, value = _pair(text, "RE=0.5")
        return {"pattern": chosen, "share": float(_number(value))}
    chosen, source, node = _call(text, "RE = magnitude(1e-3)")
    call = source.call(node)
    if call.name != "magnitude":
        raise source.wrong(node, "expected a share such as 0.5, or magnitude(BOUND)")
    given = source.bound(node, call, ["below"])
    if "below" not in given:
        raise source.wrong(node, "magnitude needs a bound")
    return {"pattern": chosen, "below": float(source.number(given["below"]))}


def value(text: str) -> Arguments:
    """Read `NAME=0.5`, `NAME=file.npy` or `NAME=file:key`, a tensor of a checkpoint such as an .npz.

    >>> value("outputs/bias=0.5"), value("outputs/bias=w.npz:b")["key"]
    ({'name': 'outputs/bias', 'value': 0.5}, 'b')
    """
    name, equals, what = (each.strip() for each in text.partition("="))
    if not (name and equals and what):
        raise PlanError("expected NAME=VALUE, where VALUE is a number, FILE.npy or FILE:KEY")
    if re.fullmatch(r"[-+]?(\d.*|\.\d.*|inf|nan)", what) and ":" not in what and not what.endswith(".npy"):
        return {"name": name, "value": _number(what)}
    file, colon, key = what.partition(":")
    if not colon and not file.endswith(".npy"):
        raise PlanError(f"{what!r} is no number, no FILE.npy and no FILE:KEY")
    return {"name": name, "value": Path(file), "key": key or None}


def nothing(text: str) -> Arguments:
    """Read an edit that takes no value."""
    if text:
        raise PlanError("it takes no value")
    return {}


def _pair(text: str, expected: str) -> tuple[str, str]:
    chosen, equals, what = (each.strip() for each in text.rpartition("="))
    if not (chosen and equals):
        raise PlanError(f"expected {expected}")
    return chosen, what


def _call(text: str, expected: str) -> tuple[str, CallText, ast.expr]:
    """Take a pattern and the call that follows it apart."""
    found = _CALL.fullmatch(text.strip())
    if not found:
        raise PlanError(f"expected {expected}")
    source = CallText(found[2], "the call", expected)
    statements = list(source.statements())
    if len(statements) != 1:
        raise PlanError(f"expected {expected}")
    return found[1].strip(), source, statements[0][1]


def _fill(source: CallText, node: ast.expr) -> Arguments:
    if isinstance(node, ast.Call):
        call = source.call(node)
        if call.name != "rows":
            raise source.wrong(node, f"expected one of {', '.join(FILLS)}, or rows([0, 1])")
        given = source.bound(node, call, ["rows"])
        rows = given.get("rows")
        elements = rows.elts if isinstance(rows, ast.List) else [node]
        return {"fill": "rows", "rows": [_whole(source, each) for each in elements]}
    name = source.word(node)
    if name not in FILLS:
        raise source.wrong(node, f"no fill {name!r}{nearest(name, FILLS)}", UnknownName)
    return {"fill": name}


def _whole(source: CallText, node: ast.expr) -> int:
    found = source.number(node)
    if not isinstance(found, int):
        raise source.wrong(node, "expected a whole number")
    return found


def _whole_numbers(text: str, expected: str) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError as error:
        raise PlanError(f"{text!r}: expected {expected}") from error


def _number(text: str) -> int | float:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    raise PlanError(f"{text!r} is no number")
