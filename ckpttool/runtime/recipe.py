"""The recipe of a training op: optimizer, rates, schedule, penalties and clipping, as a user types them."""

from collections.abc import Mapping
from dataclasses import dataclass

from ckpttool.core.calls import above_zero, not_negative, require
from ckpttool.core.errors import PlanError
from ckpttool.core.names import ByPattern, as_pattern_text
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.schedules import Performance, Schedule

OPTIMIZER = "sgd"
"""What trains where nothing else is said."""
AUTO_RATES = "auto-rgn"
"""The `lr` of a run that finds the rate of each layer by its relative gradient norm, before it begins."""


ByPatternValue = float | str | Mapping[str, float] | None
"""One number for all, `PATTERN=VALUE` pairs, or numbers by pattern."""


@dataclass(frozen=True)
class Recipe:
    """How weights are changed by their gradients; every field is checked when a recipe is made.

    `optimizer` and `schedule` are calls such as `momentum(0.01, momentum=0.9)` and `cosine(1000)`, or names. `lr`,
    `l1`, `l2`, `l2_sp` and `max_norm` are one value for all, or by pattern (`hidden[12]=1e-4, outputs=1e-2`, or a
    mapping); a penalty of 0 is none. `l2_sp` pulls kernels towards the values that they start with (Li et al.
    2018); one value is for those below the head. `lr_decay_per_layer` is the ratio of a layer's rate to that of the
    layer above it. `warmup` is in steps. Without an `optimizer` it is `sgd`, but for new heads on few rows.
    Gradients are clipped by elements, then each by its norm, then by the norm of all. With `ema` the trained
    weights have moving averages of that decay, less in the first steps. An `lr` of `auto-rgn` is for runs, which
    find the rate of each layer.

    >>> Recipe("momentum", lr=0.05).rate
    0.05

    Raises:
        PlanError: a field is malformed, or its value cannot train.
        UnknownName: an optimizer or a schedule has no such parameter.
    """

    optimizer: str | None = None
    lr: ByPatternValue = None
    lr_decay_per_layer: float | None = None
    schedule: str = "constant"
    warmup: int = 0
    l1: ByPatternValue = None
    l2: ByPatternValue = None
    l2_sp: ByPatternValue = None
    max_norm: ByPatternValue = None
    clip_value: float | None = None
    clip_norm: float | None = None
    clip_global_norm: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot train; numbers, also those by pattern, are kept as the text that says them."""
        for name in ("lr", "l1", "l2", "l2_sp", "max_norm"):
            object.__setattr__(self, name, as_pattern_text(getattr(self, name)))
        for name in ("clip_value", "clip_norm", "clip_global_norm", "lr_decay_per_layer"):
            above_zero(f"`{name}`", getattr(self, name))
        decay = self.lr_decay_per_layer
        require("`lr_decay_per_layer`", decay, decay is None or decay <= 1, "at most 1")
        require("`ema`", self.ema, self.ema is None or 0 < self.ema < 1, "a decay above 0 and below 1, such as 0.99")
        require("`warmup`", self.warmup, self.warmup >= 0, "a number of steps")
        for _, rate in self.rates.pairs if self.rates else ():
            above_zero("`lr`", rate)
        for name in ("l1", "l2", "l2_sp", "max_norm"):
            scales = self.by_pattern(name)
            for _, scale in scales.pairs if scales else ():
                not_negative(f"`{name}`", scale)
        if self.lr == AUTO_RATES and decay is not None:
            raise PlanError(f"`lr` {AUTO_RATES} finds the rate of each layer: leave `lr_decay_per_layer` out")
        own, lr = self.update_rule.learning_rate, self._one_rate
        if own is not None and lr is not None and own != lr:
            raise PlanError(f"`optimizer` {self.optimizer!r} has the rate {own}, `lr` is {lr}: specify one of them")
        _ = self.rate_schedule  # raises where it cannot be read

    @property
    def update_rule(self) -> Optimizer:
        """The optimizer, read."""
        return Optimizer.read(self.optimizer or OPTIMIZER, "`optimizer`")

    @property
    def rate_schedule(self) -> Schedule:
        """The schedule, read."""
        return Schedule.read(self.schedule, "`schedule`")

    @property
    def rate(self) -> float:
        """The base rate: `lr`, where that is one value, else the optimizer's."""
        return self.update_rule.base_rate if self._one_rate is None else self._one_rate

    @property
    def rates(self) -> ByPattern[float] | None:
        """The rates given by `lr`; None where a run finds them."""
        return None if self.lr == AUTO_RATES else self.by_pattern("lr")

    @property
    def has_several_rates(self) -> bool:
        """Whether layers have rates of their own."""
        return self.lr_decay_per_layer not in (None, 1) or bool(self.rates and self.rates.pairs[0][0])

    def require_rates(self) -> None:
        """Check that the rates are known, for what is no run.

        Raises:
            PlanError: they are to be found on rows.
        """
        if self.lr == AUTO_RATES:
            raise PlanError(f"`lr` {AUTO_RATES}: the rates are found on rows, when a run begins: give it to `finetune`")

    @property
    def plateau(self) -> Performance | None:
        """When the run itself lowers the rate, None where it does not."""
        schedule = self.rate_schedule
        return schedule if isinstance(schedule, Performance) else None

    def by_pattern(self, name: str) -> ByPattern[float] | None:
        """Return a field's numbers by pattern, None where it is not given."""
        text = getattr(self, name)
        return None if text is None else ByPattern.parse(text, f"`{name}`", float)

    @property
    def _one_rate(self) -> float | None:
        """The rate given by `lr` for all variables, if it is one."""
        pattern, rate = self.rates.pairs[0] if self.rates else (None, None)
        return rate if pattern is None else None
