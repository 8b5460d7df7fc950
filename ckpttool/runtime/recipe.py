"""The recipe of a training op: optimizer, rates, schedule, penalties and clipping, as a user types them."""

from dataclasses import dataclass
from math import inf

from ckpttool.by_pattern import ByPattern
from ckpttool.errors import PlanError
from ckpttool.runtime import optimizers


@dataclass(frozen=True)
class Span:
    """The steps of a run, for what is as long as the run: the first one's number, and how many (None: not known)."""

    begin: int = 0
    total: int | None = None


NO_SPAN = Span()


@dataclass(frozen=True)
class Recipe:
    """How weights are changed by their gradients; every field is checked when a recipe is made.

    `optimizer` is a call such as `momentum(0.01, momentum=0.9)`, or a name. `lr`, `l1`, `l2` and `max_norm` are one
    value for all, or `PATTERN=VALUE` pairs: `hidden[12]=1e-4, outputs=1e-2`. `warmup` is in steps.
    `lr_decay_per_layer` is the ratio of a layer's rate to that of the layer above it.

    >>> Recipe("momentum", lr="0.05").rate
    0.05

    Raises:
        PlanError: a field is malformed, or says what cannot train.
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
        for option in ("clip_value", "clip_norm", "clip_global_norm"):
            value = getattr(self, option)
            if value is not None:
                _require_above_zero(f"--{option.replace('_', '-')}", value)
        rule, said = self.rule, self._said_rate()
        if None not in (rule.rate, said) and rule.rate != said:
            raise PlanError(f"--optimizer {self.optimizer!r} has the rate {rule.rate}, --lr says {said}: say one")

    @property
    def rule(self) -> optimizers.Rule:
        """The optimizer, taken apart."""
        return optimizers.parse(self.optimizer)

    @property
    def rates(self) -> ByPattern[float] | None:
        """The rates that `lr` says."""
        if self.lr is None:
            return None
        rates = ByPattern.parse(self.lr, "--lr", float)
        for _, rate in rates.pairs:
            _require_above_zero("--lr", rate)
        return rates

    @property
    def rate(self) -> float:
        """The base rate: `lr`, where that is one value, else the optimizer's."""
        said = self._said_rate()
        return said if said is not None else self.rule.base_rate

    def _said_rate(self) -> float | None:
        rates = self.rates
        return next((rate for pattern, rate in rates.pairs if pattern is None), None) if rates else None


def _require_above_zero(option: str, value: float) -> None:
    if not 0 < value < inf:
        raise PlanError(f"{option} must be a number above 0, found {value}")
