"""Plots on pages, as SVG in the page's colours: histograms, curves, heat maps of counts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite

from ckpttool.core.pages.elements import figure
from ckpttool.core.shown_text import as_html

WIDTH, HEIGHT = 560, 200
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 40
COLOURS = ("blue", "orange", "green", "violet")
"""The styles of a plot's curves, in their order."""
BARS_WIDE, BARS_HIGH, BELOW = 240, 48, 16
"""Heights in pixels: of a histogram's bars, and of the labels of its range."""
LINES = 4
"""Number of grid lines across a plot, without the lowest."""
Values = Sequence[float | None]


def histogram(edges: Sequence[float], counts: Sequence[int], label: str) -> str:
    """Return the histogram of counts between edges, with its range below; `label` describes it.

    >>> histogram([0.0, 0.5, 1.0], [1, 3], "a")[-80:]
    '<text x="0" y="62">0</text><text x="240" y="62" text-anchor="end">1</text></svg>'
    """
    if not counts:
        return ""
    wide, most, parts = BARS_WIDE / len(counts), max(counts) or 1, [f"M0 {BARS_HIGH}"]
    for number, count in enumerate(counts, start=1):
        top = BARS_HIGH - max(1, round((BARS_HIGH - 2) * count / most)) if count else BARS_HIGH
        parts.append(f"V{top}H{wide * number:.4g}")
    low, high = figure(edges[0]), figure(edges[-1])
    return (
        f'<svg class="histogram" viewBox="0 0 {BARS_WIDE} {BARS_HIGH + BELOW}" width="{BARS_WIDE}" role="img" '
        f'aria-label="{as_html(label)}: {low} to {high}"><path d="{"".join(parts)}V{BARS_HIGH}H0Z"/>'
        f'<text x="0" y="{BARS_HIGH + 14}">{low}</text>'
        f'<text x="{BARS_WIDE}" y="{BARS_HIGH + 14}" text-anchor="end">{high}</text></svg>'
    )


def curves(series: Mapping[str, Values], across: str, upright: str, marked: int | None = None) -> str:
    """Return curves over 1, 2, 3 ..., with a legend if there are several; non-finite values leave a gap.

    Args:
        series: The values of each curve by its name.
        across: The label of the horizontal axis.
        upright: The label of the vertical axis.
        marked: The number at which a vertical line is drawn, if any.
    """
    axes = _Axes.of(list(series.values()))
    if axes is None:
        return ""
    drawn = "".join(
        line for colour, each in zip(COLOURS, series.values(), strict=False) for line in axes.lines(each, colour)
    )
    names = zip(COLOURS, series if len(series) > 1 else (), strict=False)
    legend = "".join(f'<li class="{colour}">{as_html(name)}</li>' for colour, name in names)
    return (
        f'<figure class="curves"><figcaption>{as_html(upright)}<ul>{legend}</ul></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{as_html(upright)} by {as_html(across)}">'
        f"{''.join(axes.grid(across))}{axes.mark(marked) if marked else ''}{drawn}</svg></figure>"
    )


@dataclass(frozen=True)
class _Axes:
    """The mapping of values to positions on a plot."""

    count: int
    low: float
    high: float

    @classmethod
    def of(cls, series: Sequence[Values]) -> "_Axes | None":
        """Return axes that cover all finite values; None if there are none."""
        values = [value for each in series for value in each if _is_there(value) and value is not None]
        if not values:
            return None
        low, high = min(values), max(values)
        beside = 0.0 if high > low else abs(high) / 2 or 0.5
        return cls(max(map(len, series)), low - beside, high + beside)

    def x(self, number: float) -> float:
        """Return the horizontal position of a number, counted from 1."""
        return LEFT + (number - 1) / max(1, self.count - 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Return the vertical position of a value."""
        return HEIGHT - BOTTOM - (value - self.low) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)

    def grid(self, across: str) -> Iterator[str]:
        """Yield grid lines with their values, the first and last number, and the axis labels."""
        for part in range(LINES + 1):
            value = self.low + (self.high - self.low) * part / LINES
            y = self.y(value)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{figure(float(f"{value:.3g}"))}</text>'
        for number, anchor in {1: "start", self.count: "end"}.items():
            yield f'<text x="{self.x(number):.1f}" y="{HEIGHT - 20}" text-anchor="{anchor}">{number}</text>'
        yield f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{as_html(across)}</text>'

    def lines(self, values: Values, colour: str) -> Iterator[str]:
        """Yield the lines of a curve; an isolated value is a point."""
        for is_there, run in groupby(enumerate(values, start=1), key=lambda pair: _is_there(pair[1])):
            places = [(self.x(number), self.y(value or 0.0)) for number, value in run] if is_there else []
            if len(places) > 1:
                yield f'<polyline class="{colour}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
            yield from (
                f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places[: len(places) == 1]
            )

    def mark(self, number: int) -> str:
        """Return a vertical line at a number."""
        x = f"{self.x(number):.1f}"
        return f'<line class="mark" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'


def heat_cell(count: int, of: int) -> str:
    """Return a cell of a table of counts, coloured by its fraction `of` a total.

    >>> heat_cell(3, 4)
    '<td class="heat hot"><i style="opacity:0.75"></i><span>3</span></td>'
    """
    warmth = f'<i style="opacity:{count / of:.2g}"></i><span>{count}</span>' if count and of else ""
    return f'<td class="heat{" hot" if count > of / 2 else ""}">{warmth}</td>'


def _is_there(value: float | None) -> bool:
    return value is not None and isfinite(value)
