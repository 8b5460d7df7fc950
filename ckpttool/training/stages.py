"""Stages: layers that are trained from a later epoch on, so that a network is unfrozen from its top down in one run."""

from dataclasses import dataclass

from ckpttool.core.errors import PlanError

_EXAMPLE = "'outputs=3, hidden4=3, .*=10': patterns with a number of epochs each"


@dataclass(frozen=True)
class Stage:
    """Epochs in which the layers of some patterns are trained; without any, all that is not frozen."""

    patterns: tuple[str, ...]
    epochs: int

    @property
    def train(self) -> str | None:
        """The patterns as one."""
        return "|".join(f"(?:{pattern})" for pattern in self.patterns) if len(self.patterns) > 1 else self.last

    @property
    def last(self) -> str | None:
        """The pattern that the stages before it do not have."""
        return self.patterns[-1] if self.patterns else None


def parse_stages(text: str | None, train: str | None, epochs: int) -> list[Stage]:
    """Return the stages of a run; each trains its own layers and those of the stages before it.

    >>> parse_stages("outputs=3, hidden4=10", None, 20)
    [Stage(patterns=('outputs',), epochs=3), Stage(patterns=('outputs', 'hidden4'), epochs=10)]
    >>> parse_stages("outputs=3, hidden4=10", None, 20)[1].train
    '(?:outputs)|(?:hidden4)'

    Raises:
        PlanError: the text is not made of patterns with a number of epochs, or the trained layers are named twice.
    """
    if text is None:
        return [Stage((train,) if train else (), epochs)]
    if train is not None:
        raise PlanError("--stages says which layers are trained and when; leave --train out")
    stages: list[Stage] = []
    for part in text.split(","):
        pattern, _, count = (each.strip() for each in part.rpartition("="))
        if not pattern or not count.isdecimal() or not int(count):
            raise PlanError(f"--stages {part.strip()!r}: expected {_EXAMPLE}")
        before = stages[-1].patterns if stages else ()
        stages.append(Stage((*before, pattern), int(count)))
    return stages


def stage_of(stages: list[Stage], epoch: int) -> int:
    """Return which stage an epoch (counted from 1 through all stages) belongs to; the last one has no end."""
    last = 0
    for number, stage in enumerate(stages):
        last += stage.epochs
        if epoch <= last:
            return number
    return len(stages) - 1
