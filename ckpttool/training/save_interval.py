"""The interval between the saves of a run."""

import re
from dataclasses import dataclass

from ckpttool.core.errors import PlanError
from ckpttool.training.run import Position

_EVERY = re.compile(r"(?P<count>\d+) *(?P<unit>steps?|epochs?|min(ute)?s?)")
MINUTE = 60.0


@dataclass(frozen=True)
class Every:
    """The interval between saves: `count` steps, epochs or minutes."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Every":
        """Parse `500 steps`, `2 epochs` or `10 min`.

        >>> Every.parse("10 min"), Every.parse("1epoch")
        (Every(count=10, unit='minutes'), Every(count=1, unit='epochs'))

        Raises:
            PlanError: the text has another form.
        """
        match = _EVERY.fullmatch(text.strip())
        if match is None or not int(match["count"]):
            raise PlanError(f"`save_every` {text!r}: expected such as '500 steps', '1 epoch' or '10 min'")
        units = {"s": "steps", "e": "epochs", "m": "minutes"}
        return cls(int(match["count"]), units[match["unit"][0]])

    def is_due(self, position: Position, seconds: float) -> bool:
        """Return whether a save is due at a position, `seconds` after the last one."""
        if self.unit == "minutes":
            return seconds >= self.count * MINUTE
        if self.unit == "epochs":
            return position.batch == 0 and (position.epoch - 1) % self.count == 0
        return position.step % self.count == 0

    def steps_left(self, step: int) -> int | None:
        """Return the number of steps until the next save; None if the interval is not in steps."""
        return self.count - step % self.count if self.unit == "steps" else None
