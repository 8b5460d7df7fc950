"""The recipe of a training op: optimizer, learning rates, schedule, penalties and clipping, as the user enters them."""

from collections.abc import Mapping
from dataclasses import dataclass

from ckpttool.core.calls import above_zero, not_negative, require
from ckpttool.core.errors import PlanError
from ckpttool.core.patterns import ByPattern, as_pattern_text
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.schedules import Performance, Schedule

OPTIMIZER = "sgd"
"""The default optimizer."""
AUTO_RATES = "auto-rgn"
"""The `lr` of a run that determines the rate of each layer from its relative gradient norm, before it starts."""


ByPatternValue = float | str | Mapping[str, float] | None
"""A number for all variables, `PATTERN=VALUE` pairs, or numbers by pattern."""


@dataclass(frozen=True)
class Recipe:
    """How weights are updated by their gradients; the constructor validates every field.

    `optimizer` and `schedule` are calls such as `momentum(0.01, momentum=0.9)` and `cosine(1000)`, or names. `lr`,
    `l1`, `l2`, `l2_sp` and `max_norm` are one value for all variables, or by pattern (`hidden[12]=1e-4, outputs=1e-2`,
    or a mapping); 0 disables a penalty. `l2_sp` pulls kernels towards their initial values (Li et al. 2018); a single
    value applies to those below the head. `lr_decay_per_layer` is the ratio of a layer's rate to that of the
    layer above it. `warmup` is in steps. The default `optimizer` is `sgd`, except for new heads on few rows.
    Gradients are clipped by element, then each by its norm, then all by their global norm. `ema` is the decay of the
    trained weights' moving averages, which is lower in the first steps. `auto-rgn` as `lr` is only valid for runs,
    which determine the rate of each layer.

    >>> Recipe("momentum", lr=0.05).rate
    0.05

    Raises:
        PlanError: a field is malformed, or its value cannot train.
        UnknownName: an optimizer, a schedule or one of their parameters does not exist.
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
        """Validate the fields; numbers, including those by pattern, are stored as text."""
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
        _ = self.rate_schedule  # raises if it is malformed

    @property
    def update_rule(self) -> Optimizer:
        """The optimizer, parsed."""
        return Optimizer.read(self.optimizer or OPTIMIZER, "`optimizer`")

    @property
    def rate_schedule(self) -> Schedule:
        """The schedule, parsed."""
        return Schedule.read(self.schedule, "`schedule`")

    @property
    def rate(self) -> float:
        """The base rate: `lr` if it is a single value, else the optimizer's."""
        return self.update_rule.base_rate if self._one_rate is None else self._one_rate

    @property
    def rates(self) -> ByPattern[float] | None:
        """The rates specified by `lr`; None if the run determines them."""
        return None if self.lr == AUTO_RATES else self.by_pattern("lr")

    @property
    def has_several_rates(self) -> bool:
        """Whether the rate differs between layers."""
        return self.lr_decay_per_layer not in (None, 1) or bool(self.rates and self.rates.pairs[0][0])

    def require_rates(self) -> None:
        """Check that the rates are known, for commands that do not train.

        Raises:
            PlanError: they can only be determined on examples.
        """
        if self.lr == AUTO_RATES:
            raise PlanError(f"`lr` {AUTO_RATES}: the rates are found on rows, when a run begins: give it to `finetune`")

    @property
    def plateau(self) -> Performance | None:
        """The schedule by which the run itself reduces the rate; None if another kind is used."""
        schedule = self.rate_schedule
        return schedule if isinstance(schedule, Performance) else None

    def by_pattern(self, name: str) -> ByPattern[float] | None:
        """Return a field's numbers by pattern; None if it is not specified."""
        text = getattr(self, name)
        return None if text is None else ByPattern.parse(text, f"`{name}`", float)

    @property
    def _one_rate(self) -> float | None:
        """The rate that `lr` specifies for all variables; None if there are several, or none."""
        pattern, rate = self.rates.pairs[0] if self.rates else (None, None)
        return rate if pattern is None else None
