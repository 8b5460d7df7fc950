"""The curve of a learning rate range test as lines of text."""

from collections.abc import Iterator
from math import log

from ckpttool.verbs.rates.curve import RateCurve

WIDTH, HEIGHT = 64, 12
"""Columns and rows of the chart itself; with the losses before it a line has less than 80."""


def chart(curve: RateCurve) -> Iterator[str]:
    """Yield the smoothed loss over log(rate) from the top down, an axis with `^` at the suggestion, and its ends.

    A loss above the first ones is shown in the top row.
    """
    if len(curve.points) < 2:
        return
    low, high = curve.span
    first, last = curve.points[0].rate, curve.points[-1].rate
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for point in curve.points:
        row = round((high - point.smoothed) / (high - low or 1.0) * (HEIGHT - 1))
        grid[max(0, row)][_column(point.rate, first, last)] = "*"
    for number, line in enumerate(grid):
        shown = {0: f"{high:.4g}", HEIGHT - 1: f"{low:.4g}"}.get(number, "")
        yield f"{shown:>10} |{''.join(line)}".rstrip()
    axis = ["-"] * WIDTH
    if curve.suggestion is not None and curve.suggestion >= first:
        axis[_column(curve.suggestion, first, last)] = "^"
    yield f"{'loss':>10} +{''.join(axis)}"
    yield f"{'rate':>10}  {f'{first:.3g}':<{WIDTH // 2}}{f'{last:.3g}':>{WIDTH // 2}}"


def _column(rate: float, first: float, last: float) -> int:
    return round(log(rate / first) / log(last / first) * (WIDTH - 1))
