"""The plot of a search: accuracy by the number of kept depths, for each number of rows, drawn by Matplotlib."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ckpttool.searching.configurations import SCRATCH, Configuration
from ckpttool.searching.estimates import Estimate
from ckpttool.searching.found import Search
from ckpttool.training.callbacks.plot import Picture

WIDTH, PANEL, HEADING = 8.0, 2.8, 0.8
"""Sizes in inches: of the plot, of a row of panels, and of the space above and below them."""
INK = "#1f1f1f"
MARKS = {
    "from scratch": ("#3b8b5d", "^"),
    "frozen": ("#2a6fbb", "o"),
    "partly frozen": ("#a3935f", "D"),
    "trained": ("#d9622b", "s"),
}
"""The colour and marker of each kind of configuration."""
JOINED = ("frozen", "trained")
"""Kinds with one configuration at each depth, which are joined by a line."""
ASIDE = 0.22
"""The spread of points with the same kept depths to both sides, as a fraction of the distance between depths."""
MARGIN = 0.02
"""The margin below and above all points and intervals."""
Estimates = Mapping[Configuration, Estimate]


def draw(picture: Picture, searches: Sequence[Search], title: str) -> None:
    """Draw a panel for each search and, for several numbers of rows, a panel of accuracy by rows.

    Raises:
        CkptError: the plot cannot be written.
    """
    known = [(found, estimates) for found in searches if (estimates := _estimates(found))]
    if not known:
        return
    columns = min(len(known), 2)
    lines = -(-len(known) // columns) + (columns > 1)
    figure = picture.figure(WIDTH, HEADING + PANEL * lines)
    grid = figure.add_gridspec(lines, columns)
    panels = [figure.add_subplot(grid[number // columns, number % columns]) for number in range(len(known))]
    ends = _ends(each for _, estimates in known for each in estimates.values())
    for axis, (found, estimates) in zip(panels, known, strict=True):
        _by_depth(axis, found, estimates)
        axis.set_title(recommendation_text(found), fontsize=10, loc="left")
        axis.set_ylim(*ends)
    if columns > 1:
        _by_rows(figure.add_subplot(grid[lines - 1, :]), known)
    pairs = [pair for axis in panels for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
    handles = {label: handle for handle, label in pairs}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9
    )
    figure.suptitle(title, fontsize=11, parse_math=False)
    picture.write(figure)


def recommendation_text(found: Search) -> str:
    """Return the recommendation of a search, as a short text."""
    recommendation = found.recommendation
    chosen = recommendation.configuration if recommendation else None
    ties = f", {len(recommendation.tied)} tied with it" if chosen and recommendation and recommendation.tied else ""
    return f"{found.rows.taken:,} rows: {chosen or 'no recommendation'}{ties}"


def kind(one: Configuration) -> str:
    """Return the kind of a configuration: how many of its kept depths are frozen.

    >>> kind(Configuration(3, 3)), kind(Configuration(3, 1)), kind(Configuration(3, 0)), kind(SCRATCH)
    ('frozen', 'partly frozen', 'trained', 'from scratch')
    """
    if one == SCRATCH:
        return "from scratch"
    return "frozen" if not one.trained else "partly frozen" if one.freeze else "trained"


def _estimates(found: Search) -> dict[Configuration, Estimate]:
    """Return the accuracies of evaluated configurations; those given up have the accuracy until then."""
    pairs = ((one, found.estimate(one)) for one in sorted(found.outcomes))
    return {one: estimate for one, estimate in pairs if estimate is not None}


def _by_depth(axis: Any, found: Search, known: Estimates) -> None:
    """Draw accuracies by the number of kept depths."""
    _style(axis, "depths kept")
    if SCRATCH in known:
        axis.axhline(known[SCRATCH].mean, color=MARKS["from scratch"][0], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for name in MARKS:
        _points(axis, name, {_place(one): each for one, each in known.items() if kind(one) == name})
    given_up = [one for one in known if any(each.state != "done" for each in found.outcomes[one].values())]
    _mark(axis, known, given_up, "x", 8, "given up")
    chosen = found.recommendation.configuration if found.recommendation else None
    _mark(axis, known, [chosen] if chosen and chosen in known else [], "o", 14, "recommended")
    deepest = max(one.keep for one in known)
    axis.set_xticks(range(deepest + 1), ["scratch", *map(str, range(1, deepest + 1))])
    axis.set_xlim(-0.5, deepest + 0.5)


def _place(one: Configuration) -> float:
    """Return the x coordinate of a configuration: its kept depths, shifted by the number of frozen depths."""
    return one.keep + ASIDE * (2 * one.freeze / one.keep - 1 if one.keep else 0)


def _points(axis: Any, name: str, known: Mapping[float, Estimate]) -> None:
    """Draw points of a kind with their intervals."""
    if not known:
        return
    (color, marker), means = MARKS[name], [each.mean for each in known.values()]
    below = [max(each.mean - each.low, 0.0) for each in known.values()]
    above = [max(each.high - each.mean, 0.0) for each in known.values()]
    points = {"marker": marker, "markersize": 5.5 if name != "partly frozen" else 3.5, "zorder": 3}
    lines = {"linestyle": "-" if name in JOINED else "none", "linewidth": 1.4, "elinewidth": 1.4}
    drawn = axis.errorbar(list(known), means, [below, above], color=color, label=name, **points, **lines)
    for bar in drawn.lines[2]:
        bar.set_alpha(0.55)


def _mark(axis: Any, known: Estimates, marked: Sequence[Configuration], marker: str, size: int, name: str) -> None:
    """Mark points of some configurations."""
    if marked:
        x, y = [_place(one) for one in marked], [known[one].mean for one in marked]
        axis.plot(
            x, y, marker, markersize=size, markerfacecolor="none", color=INK, linestyle="none", zorder=4, label=name
        )


def _by_rows(axis: Any, searches: Sequence[tuple[Search, Estimates]]) -> None:
    """Draw the best accuracy of each kind by the number of rows."""
    _style(axis, "rows, the best of each kind")
    axis.set_xscale("log")
    shown: list[Estimate] = []
    for aside, name in zip((0.97, 1.0, 1.03), ("from scratch", *JOINED), strict=True):
        of_kind = [
            (found.rows.taken, [each for one, each in known.items() if kind(one) == name]) for found, known in searches
        ]
        best = {taken * aside: max(every, key=lambda each: each.mean) for taken, every in of_kind if every}
        _points(axis, name, best)
        shown += best.values()
    numbers = [found.rows.taken for found, _ in searches]
    axis.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axis.minorticks_off()
    axis.set_xlim(min(numbers) * 0.9, max(numbers) * 1.1)
    axis.set_ylim(*_ends(shown))


def _style(axis: Any, below: str) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e3e3e3", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=9)
    axis.set_xlabel(below, fontsize=9)
    axis.set_ylabel("accuracy", fontsize=9)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _ends(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Return the limits of the accuracy axis: intervals extend it by at most half the range of the points."""
    every = list(estimates)
    means = [each.mean for each in every]
    room = max(0.05, max(means) - min(means)) / 2
    low = max(min(each.low for each in every), min(means) - room, 0.0)
    high = min(max(each.high for each in every), max(means) + room, 1.0)
    return low - MARGIN, high + MARGIN
