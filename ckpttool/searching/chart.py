"""The chart of a search as SVG: accuracy by the number of kept depths, with lines for frozen and trained layers."""

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 46
STEPS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""The possible distances between grid lines."""
MOST_LINES = 8
SPREAD = 9
"""The distance in pixels between points with the same kept depths and different frozen depths."""


def chart(points: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the chart of configurations with their intervals; `expected` are the scores of frozen depths.

    >>> chart([{"keep": 1, "freeze": 1, "accuracy": 0.5, "low": 0.4, "high": 0.6}]).startswith("<svg")
    True
    """
    shown = [point for point in points if point["accuracy"] is not None]
    scale = _Scale(shown, expected)
    return "".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Accuracy by the number of depths kept">',
            *scale.grid(),
            *_scores(scale, expected),
            _line(scale, [point for point in shown if point["freeze"] == point["keep"] and point["keep"]], "frozen"),
            _line(scale, [point for point in shown if point["freeze"] == 0 and point["keep"]], "trained"),
            *(_point(scale, point) for point in shown),
            "</svg>",
        ]
    )


class _Scale:
    """The scales of accuracies and depths on the chart."""

    def __init__(self, points: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]]) -> None:
        """Choose the range; intervals are cut off if they would leave no room for the points."""
        values = [point["accuracy"] for point in points] + [each["expected"] for each in expected]
        lows = [point["low"] for point in points] + [each["low"] for each in expected]
        highs = [point["high"] for point in points] + [each["high"] for each in expected]
        least, most = min(values, default=0.0), max(values, default=1.0)
        room = max(0.05, most - least)
        self.low = max(min(lows, default=0.0), least - room / 2, 0.0)
        self.high = min(max(highs, default=1.0), most + room / 2, 1.0)
        keeps = {point["keep"] for point in points} | {each["depth"] for each in expected}
        self.keeps = list(range(max(keeps, default=1) + 1))

    def x(self, keep: float) -> float:
        """Return the x coordinate of a number of depths."""
        return LEFT + (keep + 0.5) * (WIDTH - LEFT - RIGHT) / len(self.keeps)

    def y(self, accuracy: float) -> float:
        """Return the y coordinate of an accuracy."""
        share = (min(max(accuracy, self.low), self.high) - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> Iterator[str]:
        """Yield lines with their accuracies, and the numbers of depths below them."""
        step = next((each for each in STEPS if (self.high - self.low) / each <= MOST_LINES), STEPS[-1])
        first = int(self.low / step) + (self.low % step > 1e-9)
        for number in range(first, int(self.high / step + 1e-9) + 1):
            y = self.y(number * step)
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="axis" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number * step:.0%}</text>'
        for keep in self.keeps:
            x, y, name = self.x(keep), HEIGHT - BOTTOM + 20, str(keep) if keep else "scratch"
            yield f'<text class="axis" x="{x:.1f}" y="{y}" text-anchor="middle">{name}</text>'
        middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
        yield f'<text class="axis" x="{middle:.1f}" y="{HEIGHT - 6}" text-anchor="middle">depths kept</text>'


def _scores(scale: _Scale, expected: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield bands for the accuracies that scores predict for frozen depths."""
    for each in expected:
        x, low, high, y = scale.x(each["depth"]), *(scale.y(each[key]) for key in ("low", "high", "expected"))
        yield f'<rect class="score" x="{x - 22:.1f}" width="44" y="{high:.1f}" height="{max(low - high, 1):.1f}"/>'
        yield f'<line class="score" x1="{x - 22:.1f}" x2="{x + 22:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _line(scale: _Scale, points: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return a line through points, ordered by the kept depths."""
    ordered = sorted(points, key=itemgetter("keep"))
    places = [f"{_place(scale, each):.1f},{scale.y(each['accuracy']):.1f}" for each in ordered]
    return f'<polyline class="{name}" points="{" ".join(places)}"/>' if len(places) > 1 else ""


def _place(scale: _Scale, point: Mapping[str, Any]) -> float:
    aside: float = SPREAD * (point["freeze"] - point["keep"] / 2)
    return scale.x(point["keep"]) + aside


def _point(scale: _Scale, point: Mapping[str, Any]) -> str:
    """Return a point with its interval and a tooltip."""
    x, y = _place(scale, point), scale.y(point["accuracy"])
    low, high = scale.y(point["low"]), scale.y(point["high"])
    kind = "scratch" if not point["keep"] else "frozen" if point["freeze"] == point["keep"] else "partly"
    kind = "trained" if point["keep"] and not point["freeze"] else kind
    marks = " ".join([kind, *(mark for mark in ("recommended", "tied", "stopped") if point.get(mark))])
    key, interval = f"{point['keep']}-{point['freeze']}", f"{point['low']:.1%} to {point['high']:.1%}"
    title = f"keep {point['keep']}, freeze {point['freeze']}: {point['accuracy']:.1%} ({interval})"
    return (
        f'<g class="point {marks}" data-key="{key}" tabindex="0"><title>{title}</title>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if point.get("recommended") else 4.5}"/></g>'
    )
