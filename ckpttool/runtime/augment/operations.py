"""The operations of an augmentation by name: a table of parameters, with what each may be, and what each does."""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ckpttool.core.call_text import CallText, ParsedCall, nearest
from ckpttool.core.errors import PlanError
from ckpttool.runtime.augment import colour, geometry
from ckpttool.runtime.augment.geometry import Shape

NEEDED = None
"""The default of a parameter that has none."""


@dataclass(frozen=True)
class Kind:
    """A row of the table: parameters with their defaults, how many numbers it draws for a row, and what it does.

    A default that is another parameter's name is that one's value. What `moves` pixels gives matrices for draws and a
    shape, what does not gives new values for images, draws and bounds.
    """

    parameters: Mapping[str, bool | str | None]
    draws: int
    function: Callable[..., Any]
    moves: bool = False
    channels: int | None = None


_RANGE = {"low": NEEDED, "high": NEEDED}

OPERATIONS: dict[str, Kind] = {
    "shift": Kind({"horizontal": NEEDED, "vertical": "horizontal"}, 2, geometry.shift, moves=True),
    "rotate": Kind({"degrees": NEEDED}, 1, geometry.rotate, moves=True),
    "scale": Kind(_RANGE, 1, geometry.scale, moves=True),
    "flip": Kind({"horizontal": True, "vertical": False}, 2, geometry.flip, moves=True),
    "crop": Kind({"height": NEEDED, "width": "height"}, 2, geometry.crop, moves=True),
    "brightness": Kind({"fraction": NEEDED}, 1, colour.brightness),
    "contrast": Kind(_RANGE, 1, colour.contrast),
    "saturation": Kind(_RANGE, 1, colour.saturation, channels=3),
    "hue": Kind({"fraction": NEEDED}, 1, colour.hue, channels=3),
}
"""Parameters: `shift` fractions of the width and of the height; `rotate` degrees; `scale`, `contrast` and `saturation`
factors; `crop` pixels; `brightness` a fraction of the range of values; `hue` a fraction of the colour circle.
"""

_Check = tuple[str, Callable[[float], bool]]
_SHARE: _Check = ("a fraction from 0 to 1", lambda value: 0 <= value <= 1)
_PIXELS: _Check = ("a whole number of pixels above 0", lambda value: value == int(value) and value > 0)
_FACTOR: _Check = ("a factor not below 0", lambda value: value >= 0)
_CHECKS: dict[str, _Check] = {
    "shift": _SHARE,
    "rotate": ("degrees from 0 to 180", lambda value: 0 <= value <= 180),
    "scale": ("a factor above 0", lambda value: value > 0),
    "crop": _PIXELS,
    "brightness": _SHARE,
    "contrast": _FACTOR,
    "saturation": _FACTOR,
    "hue": ("a fraction from 0 to 0.5", lambda value: 0 <= value <= 0.5),
}


@dataclass(frozen=True)
class Operation:
    """A call, taken apart: its name and all parameters."""

    name: str
    values: Mapping[str, float | bool] = field(hash=False)

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value}' for name, value in self.values.items())})"

    @property
    def draws(self) -> int:
        """How many numbers it draws for a row."""
        return OPERATIONS[self.name].draws

    @property
    def moves(self) -> bool:
        """Whether it moves pixels, rather than change their colours."""
        return OPERATIONS[self.name].moves

    def apply(self, *what: Any) -> Any:
        """Return the matrices for draws and a shape, or the new values for images, draws and bounds."""
        return OPERATIONS[self.name].function(self.values, *what)


def parse(text: str, shape: Shape) -> Iterator[Operation]:
    """Yield the operations of a text, checked for images of a shape (height, width, channels).

    Raises:
        PlanError: no operation, an unknown one, a parameter that cannot be, or that does not suit the images.
        UnknownName: an operation has no such parameter.
    """
    source = CallText(text, "`augment`", "an operation such as shift(0.1)")
    statements = list(source.statements())
    if not statements:
        raise PlanError("`augment`: no operation, expected some such as shift(0.1); rotate(15); flip()")
    for name, node in statements:
        if name is not None:
            raise source.wrong(name, "an operation has no name of its own")
        yield _operation(source, node, shape)


def _operation(source: CallText, node: ast.expr, shape: Shape) -> Operation:
    call = source.call(node)
    if call.name not in OPERATIONS:
        raise source.wrong(node, f"no operation {call.name}{nearest(call.name, OPERATIONS)}")
    operation = Operation(call.name, _values(source, node, call))
    if problem := _problem(operation, shape):
        raise source.wrong(node, problem)
    return operation


def _values(source: CallText, node: ast.expr, call: ParsedCall) -> dict[str, float | bool]:
    parameters = OPERATIONS[call.name].parameters
    given = source.bound(node, call, list(parameters))
    values: dict[str, float | bool] = {}
    for name, default in parameters.items():
        if name in given:
            read = source.flag if isinstance(default, bool) else source.number
            values[name] = read(given[name])
            _check(source, call.name, name, given[name], values[name])
        elif default is NEEDED:
            raise source.wrong(
                node, f"{call.name} needs {' and '.join(n for n, d in parameters.items() if d is NEEDED)}"
            )
        else:
            values[name] = values[default] if isinstance(default, str) else default
    return values


def _check(source: CallText, operation: str, name: str, node: ast.expr, value: float) -> None:
    expected, good = _CHECKS.get(operation, ("", lambda _: True))
    if not good(value):
        raise source.wrong(node, f"{operation}: {name} must be {expected}, found {value}")


def _problem(operation: Operation, shape: Shape) -> str | None:
    """Say what does not fit: a range that is upside down, a window larger than the image, colours of a grey one."""
    height, width, channels = shape
    values, wanted = operation.values, OPERATIONS[operation.name].channels
    if values.get("low", 0) > values.get("high", 0):
        return f"{operation.name}: low is above high"
    if operation.name == "crop" and (values["height"] > height or values["width"] > width):
        return f"crop: a window of {values['height']} x {values['width']} pixels, the images have {height} x {width}"
    if wanted not in (None, channels):
        has = "1 channel" if channels == 1 else f"{channels} channels"
        return f"{operation.name} needs images of {wanted} channels, red, green and blue; these have {has}"
    return None
