"""Held-out rows: the training rows that are used for validation, as specified by `valid`, `group` and a seed.

A draw depends on the seed, the labels and the groups alone, so that it can be repeated anywhere. A run's report
contains the rule, and a digest of the row numbers.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Self

from ckpttool.core.counts import counted
from ckpttool.core.errors import DataError, FormatError, PlanError

if TYPE_CHECKING:
    from ckpttool.core.tensors import Array
    from ckpttool.data.drawing import Numbers

Place = Literal["drawn", "first", "last"]
TENTH = Fraction(1, 10)
SEED = 42
_VALID = re.compile(r"(?:(?P<place>first|last):)?(?P<number>\d+(?:\.\d+)?)(?P<percent>%)?")


@dataclass(frozen=True)
class HeldOut:
    """A rule for held-out rows: their number or fraction, whether they are drawn or at one end, and the seed.

    `group` names a column; all rows with the same value of it stay on the same side.

    >>> str(HeldOut()), str(HeldOut.parse("first:5000")), HeldOut.parse("12.5%").count(300)
    ('10%', 'first:5000', 37)
    """

    part: int | Fraction = TENTH
    place: Place = "drawn"
    group: str | None = None
    seed: int = SEED

    @classmethod
    def parse(cls, valid: int | str | None, group: str | None = None, seed: int = SEED) -> Self:
        """Parse a number or a percentage such as `20%`, optionally after `first:` or `last:`; None is a tenth.

        Raises:
            PlanError: it is none of these, or a group is given for rows that are not drawn.
        """
        match = _VALID.fullmatch("10%" if valid is None else str(valid).replace(" ", ""))
        number = Fraction(Decimal(match["number"])) if match else Fraction(0)
        share = bool(match and match["percent"])
        if match is None or not (0 < number < 100 if share else number >= 1 and number.denominator == 1):
            raise PlanError(
                f"`valid` {valid!r}: expected a number of rows or a share such as 20%, or first:5000, last:10%"
            )
        by_position: dict[str | None, Place] = {"first": "first", "last": "last"}
        place = by_position.get(match["place"], "drawn")
        if group is not None and place != "drawn":
            raise PlanError(
                f"`valid` {valid} selects rows by position, `group` needs them drawn at random: specify only one of "
                "them"
            )
        return cls(number / 100 if share else int(number), place, group, seed)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        text = str(self.part) if isinstance(self.part, int) else f"{float(self.part * 100)!r}%".replace(".0%", "%")
        return text if self.place == "drawn" else f"{self.place}:{text}"

    def count(self, rows: int) -> int:
        """Return the number of held-out rows among `rows` rows."""
        return self.part if isinstance(self.part, int) else max(1, int(rows * self.part))

    def sides(self, rows: int, classes: "Numbers | None", groups: "Array | None") -> "Sides":
        """Choose the held-out rows, stratified by class and in whole groups if these are given.

        Raises:
            DataError: one side would have no rows.
        """
        import numpy as np

        from ckpttool.data.drawing import draw, draw_groups

        count = self.count(rows)
        if not 0 < count < rows:
            raise DataError(f"{count} of {counted(rows, 'row')} for validation, expected 1 to {rows - 1}")
        if self.place != "drawn":
            held = np.arange(count) if self.place == "first" else np.arange(rows - count, rows)
            return Sides(self, held, rows, f"the {self.place} {count} of {counted(rows, 'training row')}")
        stratified = " by class" if classes is not None else ""
        if groups is None:
            text = f"{count} of {counted(rows, 'row')}, drawn{stratified}"
            return Sides(self, draw(rows, count, classes, self.seed), rows, text)
        held, of_groups = draw_groups(count, classes, groups, self.seed)
        text = f"{len(held)} of {counted(rows, 'row')}, {of_groups} by {self.group}, drawn{stratified}"
        return Sides(self, held, rows, text)

    def asks(self) -> list[str]:
        """Return the parameters that differ from the default, a random tenth, for messages."""
        return [f"`valid` {self}"] if (self.part, self.place) != (TENTH, "drawn") else []

    def as_json(self) -> dict[str, Any]:
        """Return the rule as JSON for `from_json`."""
        return {"rule": str(self), "group": self.group, "seed": self.seed}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Return the rule of a report's JSON.

        Raises:
            FormatError: it is invalid.
        """
        try:
            return cls.parse(facts["rule"], facts["group"], int(facts["seed"]))
        except (KeyError, TypeError, ValueError, OverflowError, PlanError) as error:
            raise FormatError(f"not a valid rule for held-out rows: {error}") from error


@dataclass(frozen=True, eq=False)
class Sides:
    """The ascending numbers of the rows that a rule holds out of `rows` rows, and a text that describes the choice."""

    rule: HeldOut
    held: "Numbers"
    rows: int
    said: str

    @property
    def kept(self) -> "Numbers":
        """The numbers of the other rows, which are trained on."""
        import numpy as np

        kept = np.ones(self.rows, bool)
        kept[self.held] = False
        return np.flatnonzero(kept)

    @property
    def note(self) -> str:
        """A note for the user on how the rows were chosen."""
        seed = f" with seed {self.rule.seed}" if self.rule.place == "drawn" else ""
        return f"validation: {self.said}{seed}"

    def as_json(self) -> dict[str, Any]:
        """Return the rule, the number of rows and their digest: enough to choose the rows again and to verify them."""
        digest = hashlib.blake2b(self.held.astype("<i8").tobytes(), digest_size=16).hexdigest()
        return {**self.rule.as_json(), "rows": len(self.held), "of": self.rows, "digest": digest}
