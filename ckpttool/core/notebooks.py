"""Representations of objects in notebooks: tables, small histograms and curves, in HTML without scripts or styles."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_ROWS = 100
"""Maximum number of rows that are shown; the others are counted."""
WIDTH, HEIGHT, BINS, LETTERS, LABEL = 64, 16, 32, 10, 140
MOST_BYTES = 64 << 20
"""Maximum size in bytes of a model for which histograms are drawn, as all values are read for them."""
_TEXT = "text-align:left;padding:2px 8px;white-space:nowrap"
_NUMBER = "text-align:right;padding:2px 8px;white-space:nowrap"


class Markup(str):
    """A string that is HTML already, such as a picture that was made here."""

    __slots__ = ()


def html_table(rows: Sequence[Mapping[str, Any]], caption: str, notes: Sequence[str] = ()) -> str:
    """Return rows as an HTML table; cells are escaped unless they are `Markup`.

    >>> "&lt;b&gt;" in html_table([{"name": "<b>", "size": 3}], "layers")
    True
    """
    columns = list(dict.fromkeys(column for row in rows[:MOST_ROWS] for column in row))
    head = "".join(f'<th style="{_TEXT}">{escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{''.join(_cell(row.get(column)) for column in columns)}</tr>" for row in rows[:MOST_ROWS])
    more = [f"and {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else []
    below = "".join(f"<div>{escape(note)}</div>" for note in [*more, *notes])
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
    return f"<div><b>{escape(caption)}</b>{table}{below}</div>"


def text_table(rows: Iterable[Mapping[str, Any]], most: int = 12) -> Iterator[str]:
    """Yield the lines of a small text table; of many rows the first ones, and the number of those omitted.

    >>> list(text_table([{"name": "hidden1", "shape": (2, 3)}, {"name": "outputs", "shape": ()}]))
    ['  name     shape', '  hidden1  2 × 3', '  outputs']
    """
    every = list(rows)
    columns = list(dict.fromkeys(column for row in every[:most] for column in row))
    lines = [columns, *([shown_cell(row.get(column)) for column in columns] for row in every[:most])] if columns else []
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        yield "  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
    if len(every) > most:
        yield f"  and {len(every) - most} more"


def distribution(arrays: Iterable["NDArray[Any]"]) -> Markup | None:
    """Return the histogram of all finite numbers of arrays, from the smallest to the largest; None if there are none.

    The arrays may be read while they are iterated over; if one is damaged, there is no histogram.
    """
    import numpy as np

    try:
        read = [np.asarray(array).reshape(-1) for array in arrays]
    except CkptError:  # damaged: the table is shown without it
        return None
    numbers = np.concatenate([each.astype(np.float32) for each in read]) if read else np.zeros(0, np.float32)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    counts, edges = np.histogram(numbers, BINS)
    return histogram(counts.tolist(), f"{edges[0]:.4g} to {edges[-1]:.4g}")


def histogram(counts: Sequence[int], title: str) -> Markup:
    """Return counts as bars, from the lowest bin to the highest, in the colour of the surrounding text."""
    most, width = max(counts, default=0) or 1, WIDTH / max(1, len(counts))
    bars = "".join(
        f'<rect x="{place * width:.1f}" y="{HEIGHT - count / most * HEIGHT:.1f}" width="{max(width - 0.5, 0.5):.1f}" '
        f'height="{count / most * HEIGHT:.1f}"/>'
        for place, count in enumerate(counts)
        if count
    )
    return _picture(bars, WIDTH, HEIGHT, title)


def curves(lines: Mapping[str, Sequence[float | None]], width: int = 320, height: int = 120) -> Markup:
    """Return line plots over common positions, each labelled at its end; non-finite values are omitted."""
    known = [value for line in lines.values() for value in line if value is not None and isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    span, places = (high - low) or 1.0, max((len(line) for line in lines.values()), default=1)
    drawn, ends = [], list[float]()
    for number, (name, line) in enumerate(lines.items()):
        points = [
            (4 + place / max(1, places - 1) * (width - LABEL), 6 + (high - value) / span * (height - 12))
            for place, value in enumerate(line)
            if value is not None and isfinite(value)
        ]
        if not points:
            continue
        dash = ' stroke-dasharray="4 2"' if number % 2 else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        x, y = points[-1]
        drawn.append(f'<polyline points="{path}" fill="none" stroke="currentColor"{dash}/>')
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>')
        while any(abs(y - other) < LETTERS for other in ends):
            y += LETTERS if y < height / 2 else -LETTERS
        ends.append(y)
        last = f"{escape(name)} {_last(line):.4g}"
        drawn.append(f'<text x="{x + 5:.1f}" y="{y + 4:.1f}" font-size="{LETTERS}">{last}</text>')
    return _picture("".join(drawn), width, height, ", ".join(lines))


def _last(line: Sequence[float | None]) -> float:
    """Return the last finite value."""
    return next(value for value in reversed(line) if value is not None and isfinite(value))


def _picture(content: str, width: int, height: int, title: str) -> Markup:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return Markup(f'<svg {size} fill="currentColor" role="img"><title>{escape(title)}</title>{content}</svg>')


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return f"<td>{value}</td>"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = f"{value:,}" if isinstance(value, int) and is_number else f"{value:.4g}" if is_number else value
    shown = shown_cell(value) if value is None or isinstance(value, (tuple, list)) else str(text)
    return f'<td style="{_NUMBER if is_number else _TEXT}">{escape(shown)}</td>'


def shown_cell(value: Any) -> str:
    """Return a value as a cell shows it: `2 × 3` for a shape, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, (tuple, list)):
        return (" × " if all(isinstance(each, int) for each in value) else ", ").join(map(str, value))
    return str(value)


class _WithRows(Protocol):
    @property
    def rows(self) -> Sequence[Any]: ...

    @property
    def notes(self) -> Sequence[str]: ...


class ShownPlan:
    """The representation of plans in interactive shells: a title, and the first rows as a table."""

    def __repr__(self: _WithRows) -> str:
        rows = list(self.rows)
        return "\n".join([f"<{type(self).__name__}: {counted(len(rows), 'row')}>", *text_table(map(cells_of, rows))])

    def _repr_html_(self: _WithRows) -> str:
        """Return the rows as a table, for a notebook."""
        return html_table([cells_of(row) for row in self.rows], type(self).__name__, getattr(self, "notes", ()))


def cells_of(row: Any) -> Mapping[str, Any]:
    """Return a row of a plan as it is shown to people."""
    cells: Mapping[str, Any] = row if isinstance(row, Mapping) else row.cells() if hasattr(row, "cells") else vars(row)
    return cells


class Rows(list[dict[str, Any]]):
    """A list of rows that notebooks show as a table.

    >>> Rows([{"name": "hidden1", "parameters": 300}], "layers")
    [{'name': 'hidden1', 'parameters': 300}]
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], caption: str) -> None:
        """Store the rows and the table's title."""
        super().__init__(dict(row) for row in rows)
        self.caption = caption

    def _repr_html_(self) -> str:
        """Return the table."""
        return html_table(self, self.caption)
