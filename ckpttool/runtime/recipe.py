"""The recipe of a training op: optimizer, rates, schedule, penalties and clipping, as a user types them."""

from dataclasses import dataclass
from math import inf

from ckpttool.core.by_pattern import ByPattern
from ckpttool.core.errors import PlanError
from ckpttool.runtime import optimizers, schedules
from ckpttool.runtime.schedules import Plateau


@dataclass(frozen=True)
class Recipe:
    """How weights are changed by their gradients; every field is checked when a recipe is made.

    `optimizer` and `schedule` are calls such as `momentum(0.01, momentum=0.9)` and `cosine(1000)`, or names. `lr`,
    `l1`, `l2` and `max_norm` are one value for all, or `PATTERN=VALUE` pairs: `hidden[12]=1e-4, outputs=1e-2`; a
    penalty of 0 is none. `lr_decay_per_layer` is the ratio of a layer's rate to that of the layer above it. `warmup` is
    in steps. Gradients are clipped by their elements, then each by its norm, then by the norm of all.

    >>> Recipe("momentum", lr="0.05").rate
    0.05

    Raises:
        PlanError: a field is malformed, or says what cannot train.
        UnknownName: an optimizer or a schedule has no such parameter.
    """

    optimizer: str = "sgd"
    lr: str | None = None
    lr_decay_per_layer: float | None = None
    schedule: str = "constant"
    warmup: int = 0
    l1: str | None = None
    l2: str | None = None
    max_norm: str | None = None
    clip_value: float | None = None
    clip_norm: float | None = None
    clip_global_norm: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot train."""
        for name in ("clip_value", "clip_norm", "clip_global_norm", "lr_decay_per_layer"):
            _require_above_zero(name, getattr(self, name))
        if self.lr_decay_per_layer is not None and self.lr_decay_per_layer > 1:
            raise PlanError(f"--lr-decay-per-layer must be at most 1, found {self.lr_decay_per_layer}")
        if self.warmup < 0:
            raise PlanError(f"--warmup must be a number of steps, found {self.warmup}")
        for _, rate in self.rates.pairs if self.rates else ():
            _require_above_zero("lr", rate)
        for name in ("l1", "l2", "max_norm"):
            self._require_not_negative(name)
        self._require_one_rate()
        schedules.parse(self.schedule)

    @property
    def rule(self) -> optimizers.Rule:
        """The optimizer, taken apart."""
        return optimizers.parse(self.optimizer)

    @property
    def rate(self) -> float:
        """The base rate: `lr`, where that is one value, else the optimizer's."""
        said = self._said_rate()
        return said if said is not None else self.rule.base_rate

    @property
    def rates(self) -> ByPattern[float] | None:
        """The rates that `lr` says."""
        return self.by_pattern("lr")

    @property
    def plateau(self) -> Plateau | None:
        """When the run itself lowers the rate, None where it does not."""
        schedule = schedules.parse(self.schedule)
        if schedule.name != "performance":
            return None
        return Plateau(float(schedule.parameters["factor"]), int(schedule.parameters["patience"]))

    def by_pattern(self, name: str) -> ByPattern[float] | None:
        """Return a field's numbers by pattern, None where it says nothing."""
        text = getattr(self, name)
        return None if text is None else ByPattern.parse(text, _option(name), float)

    def _said_rate(self) -> float | None:
        pattern, rate = self.rates.pairs[0] if self.rates else (None, None)
        return rate if pattern is None else None

    def _require_one_rate(self) -> None:
        called, said = self.rule.rate, self._said_rate()
        if called is not None and said is not None and called != said:
            raise PlanError(f"--optimizer {self.optimizer!r} has the rate {called}, --lr says {said}: leave one out")

    def _require_not_negative(self, name: str) -> None:
        said = self.by_pattern(name)
        for _, value in said.pairs if said else ():
            if not 0 <= value < inf:
                raise PlanError(f"{_option(name)} must be a number not below 0, found {value}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _require_above_zero(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < inf:
        raise PlanError(f"{_option(name)} must be a number above 0, found {value}")
