"""Summaries of a tensor's numbers: counts, range, mean, standard deviation and a histogram, streamed in pieces."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ckpttool.core.casting import arrays
from ckpttool.core.dtypes import STRING
from ckpttool.core.tensors import Array, Tensor

BINS = 20
BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Summary:
    """A summary of a tensor's numbers; range, mean and deviation are those of finite values, None if there are none.

    Complex numbers are summarised by their magnitudes.
    """

    count: int
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    zeros: int
    nan: int
    inf: int

    @property
    def norm(self) -> float:
        """The L2 norm of the finite values."""
        finite = self.count - self.nan - self.inf
        return math.sqrt(finite) * math.hypot(self.mean or 0.0, self.std or 0.0)

    def row(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self) | {"norm": self.norm}


@dataclass(frozen=True)
class Histogram:
    """The numbers of finite values between consecutive edges; the last bin includes its upper edge."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    def row(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"edges": list(self.edges), "counts": list(self.counts)}

    def sparkline(self) -> str:
        """Return the bins as a row of bars; every bin that is not empty has a bar.

        >>> Histogram((0.0, 1.0, 2.0, 3.0), (0, 1, 80)).sparkline()
        ' ▁█'
        """
        most = max(self.counts, default=0) or 1
        return "".join(BARS[math.ceil(count / most * (len(BARS) - 1))] for count in self.counts)

    def lines(self, width: int = 40) -> Iterator[str]:
        """Yield a line per bin: its range, a bar, the count."""
        most = max(self.counts, default=0) or 1
        for low, high, count in zip(self.edges, self.edges[1:], self.counts, strict=False):
            yield f"{low:>12.5g} .. {high:<12.5g} {'#' * round(width * count / most):<{width}} {count}"


def has_numbers(tensor: Tensor) -> bool:
    """Return whether a tensor's elements are numbers, rather than strings or variants."""
    return tensor.dtype.itemsize > 0


def summarize(tensor: Tensor) -> Summary:
    """Return the summary of a tensor, read once in bounded memory.

    >>> summarize(Tensor.of("bias", np.array([1.0, 3.0, 0.0, np.nan], np.float32))).row()["mean"]
    1.3333333333333333

    Raises:
        CkptError: it contains strings or variants.
        CorruptCheckpoint: its checksum does not match.
    """
    total = _Total()
    for values in numbers(tensor):
        total.add(values)
    return total.summary()


def together(summaries: Iterable[Summary]) -> Summary:
    """Return the summary of all numbers of several tensors, given the summary of each.

    >>> one, two = (summarize(Tensor.of("x", np.array(values))) for values in ([1.0, 2.0], [6.0, np.nan]))
    >>> together([one, two]).mean, together([one, two]).nan
    (3.0, 1)
    """
    total = _Total()
    for summary in summaries:
        total.add_summary(summary)
    return total.summary()


def histogram(tensor: Tensor, summary: Summary, bins: int = BINS) -> Histogram:
    """Return the histogram of a tensor's finite values, in bins of equal width over its range."""
    if summary.min is None or summary.max is None:
        return Histogram((), ())
    edges = _edges(summary.min, summary.max, bins)
    counts = np.zeros(len(edges) - 1, np.int64)
    for values in numbers(tensor):
        counts += np.histogram(values[np.isfinite(values)], edges)[0]
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def numbers(tensor: Tensor) -> Iterator[Array]:
    """Yield a tensor's values as float64 (complex ones as their magnitudes), a bounded piece at a time."""
    for values in arrays(tensor):
        with np.errstate(all="ignore"):  # signalling NaN, magnitudes of huge numbers
            floats = (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float64)
        yield floats


def text_values(tensor: Tensor) -> list[str]:
    """Return the elements of a string tensor as text, with escapes for invalid UTF-8; empty for other tensors."""
    if tensor.dtype != STRING:
        return []
    return [bytes(value).decode("utf-8", "backslashreplace") for value in tensor.read().reshape(-1)]


def _edges(low: float, high: float, bins: int) -> Array:
    """Return the edges of the bins; fewer if the range is too narrow."""
    if low == high:
        return np.array([low, np.nextafter(high, np.inf)])
    part = np.linspace(0.0, 1.0, bins + 1)
    edges = np.sort(low * (1 - part) + high * part)
    distinct: Array = edges[np.append(True, np.diff(edges) > 0)]  # np.unique would import masked arrays
    return distinct


class _Total:
    """Running totals over pieces; mean and variance by Chan's pairwise formula, which is numerically stable."""

    def __init__(self) -> None:
        self.count = self.finite = self.zeros = self.nan = self.inf = 0
        self.mean = self.squares = 0.0
        self.low, self.high = np.inf, -np.inf

    def add(self, values: Array) -> None:
        """Add one piece."""
        finite = values[np.isfinite(values)]
        self.count += values.size
        self.nan += int(np.isnan(values).sum())
        self.inf += int(np.isinf(values).sum())
        self.zeros += int(values.size - np.count_nonzero(values))
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
            with np.errstate(over="ignore", invalid="ignore"):  # variances of huge numbers overflow
                self._join(finite.size, float(finite.mean()), float(finite.var()) * finite.size)

    def add_summary(self, other: Summary) -> None:
        """Add the summary of other numbers."""
        self.count += other.count
        self.zeros += other.zeros
        self.nan += other.nan
        self.inf += other.inf
        if other.mean is not None and other.std is not None and other.min is not None and other.max is not None:
            finite = other.count - other.nan - other.inf
            self.low, self.high = min(self.low, other.min), max(self.high, other.max)
            self._join(finite, other.mean, other.std * other.std * finite)

    def _join(self, count: int, mean: float, squares: float) -> None:
        both = self.finite + count
        step = mean - self.mean
        self.squares += squares + step * step * self.finite * count / both
        self.mean += step * count / both
        self.finite = both

    def summary(self) -> Summary:
        """Return the summary of all numbers."""
        if not self.finite:
            return Summary(self.count, None, None, None, None, self.zeros, self.nan, self.inf)
        spread = (self.squares / self.finite) ** 0.5
        return Summary(self.count, self.low, self.high, self.mean, spread, self.zeros, self.nan, self.inf)
