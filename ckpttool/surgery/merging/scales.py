"""Factors of task vectors: one number, or different ones for tensors that patterns match."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ckpttool.core.errors import PlanError
from ckpttool.core.patterns import Pattern

Scale = float | Sequence[str] | Mapping[str, float]
"""A number, texts such as `0.3` and `RE=0.3`, or numbers by pattern; the last pattern that matches a tensor counts."""
_EVERYTHING = ""


@dataclass(frozen=True)
class Scales:
    """Ordered numbers by pattern; an empty pattern matches all tensors.

    >>> scales = Scales.of(["0.3", "head=1"])
    >>> scales.of_name("low/kernel"), scales.of_name("head/kernel"), Scales().of_name("low/kernel")
    (0.3, 1.0, 1.0)
    """

    given: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, scale: Scale | None) -> "Scales":
        """Parse a scale in any of its forms.

        Raises:
            PlanError: a value is not a finite number.
        """
        if scale is None:
            return cls()
        if isinstance(scale, int | float):
            return cls(((_EVERYTHING, _number(scale, str(scale))),))
        if isinstance(scale, Mapping):
            return cls(tuple((pattern, _number(value, f"{pattern}={value}")) for pattern, value in scale.items()))
        parts = [(text, *text.rpartition("=")[::2]) for text in ([scale] if isinstance(scale, str) else scale)]
        return cls(tuple((pattern.strip(), _number(value, text)) for text, pattern, value in parts))

    def of_name(self, name: str) -> float:
        """Return a tensor's factor; 1 if no pattern matches."""
        taken = [value for pattern, value in self.given if not pattern or Pattern(pattern).matches(name)]
        return taken[-1] if taken else 1.0

    def require_known(self, names: Iterable[str]) -> None:
        """Check that every pattern matches a tensor.

        Raises:
            UnknownName: a pattern matches nothing.
        """
        names = list(names)
        for pattern, _ in self.given:
            if pattern:
                Pattern(pattern).select(names)


def _number(value: object, text: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PlanError(f"`scale` {text}: expected a number, or RE=NUMBER")
    return number


UNSCALED = Scales()
"""The factor 1 for all tensors."""
