"""How often a run is saved: every so many steps, epochs or minutes."""

import re
from dataclasses import dataclass

from ckpttool.core.errors import PlanError
from ckpttool.training.run import Position

_TEXT = re.compile(r"(?P<count>\d+) *(?P<unit>steps?|epochs?|min(ute)?s?)")
MINUTE = 60.0


@dataclass(frozen=True)
class Every:
    """How often a run is saved: `count` steps, epochs or minutes."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Every":
        """Read `500 steps`, `2 epochs` or `10 min`.

        >>> Every.parse("10 min"), Every.parse("1epoch")
        (Every(count=10, unit='minutes'), Every(count=1, unit='epochs'))

        Raises:
            PlanError: it is none of these.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None or not int(found["count"]):
            raise PlanError(f"--save-every {text!r}: expected such as '500 steps', '1 epoch' or '10 min'")
        units = {"s": "steps", "e": "epochs", "m": "minutes"}
        return cls(int(found["count"]), units[found["unit"][0]])

    def is_due(self, position: Position, seconds: float) -> bool:
        """Say whether a save is due at a position, so many seconds after the last one."""
        if self.unit == "minutes":
            return seconds >= self.count * MINUTE
        if self.unit == "epochs":
            return position.batch == 0 and (position.epoch - 1) % self.count == 0
        return position.step % self.count == 0

    def steps_left(self, step: int) -> int | None:
        """Return how many steps may be taken before the next save; None where steps do not decide."""
        return self.count - step % self.count if self.unit == "steps" else None
