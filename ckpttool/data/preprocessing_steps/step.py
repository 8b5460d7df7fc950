"""The base class of preprocessing steps: calls that map the shape of a row, and rows.

Rows are stacked, [n, ...], in float32 or float64, and belong to the step, which may overwrite them. Channels are the
last dimension of a row, or the first if only that has the right size.
"""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from ckpttool.core.calls import Call, written_value
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array

Row = tuple[int, ...]
"""The shape of a row."""
Range = Literal["bytes", "fractions"]
"""The range of numbers that a step expects: from 0 to 255, or from 0 to 1."""


@dataclass(frozen=True)
class Step(Call):
    """One thing that is done to rows, a call in the text that says all of them."""

    noun, example = "step", "scale(1/127.5, -1)"
    arranges: ClassVar[bool] = False
    """Whether it changes the size or the channels of images, and not what their numbers mean."""

    @classmethod
    def problem_of_name(cls, name: str) -> str | None:
        """Return how a name stands before it."""
        return f"an input's name is followed by a colon: {name}: {cls.example}"

    def __str__(self) -> str:
        """Return the call as people write it: its first parameters by their places, later ones by their names."""
        if self.variadic:
            return super().__str__()
        parts: list[str] = []
        by_place = True
        for field in fields(self):
            value = getattr(self, field.name)
            by_place = (
                by_place and value != field.default and isinstance(value, float | int if parts else float | int | str)
            )
            if value != field.default:
                parts.append(f"{'' if by_place else f'{field.name}='}{written_value(value, field.type)}")
        return f"{self.name}({', '.join(parts)})" if parts or self.name != Nothing.name else self.name

    def shape(self, row: Row) -> Row:
        """Return the shape that rows of a shape get.

        Raises:
            PlanError: it can't be done to such rows.
        """
        return row

    @property
    def made_for(self) -> Range | None:
        """The range of the numbers in images that it is made for, where it shows."""
        return None

    def apply(self, rows: Array) -> Array:
        """Return what it makes of rows, which may be overwritten."""
        raise NotImplementedError


@dataclass(frozen=True)
class Nothing(Step):
    """No preprocessing: bytes are not divided by 255."""

    name = "none"

    def apply(self, rows: Array) -> Array:
        """Return the rows."""
        return rows


def channel_axis(step: Step, row: Row, channels: int) -> int:
    """Return the place of the channels in the shape of a row: the last, or the first where only that has as many.

    Raises:
        PlanError: neither has.
    """
    if row and channels in (row[-1], row[0]):
        return len(row) - 1 if row[-1] == channels else 0
    grey = len(row) == 2 or (len(row) == 3 and 1 in (row[0], row[-1]))
    how = "; `rgb()` before it makes three of one" if grey and channels == 3 else ""
    raise PlanError(f"{step} needs {channels} channels, the last dimension or the first, but rows are {list(row)}{how}")
