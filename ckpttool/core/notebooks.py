"""What a notebook shows of an object: tables, small histograms and curves, as HTML without scripts or style sheets."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import isfinite
from typing import Any

MOST_ROWS = 100
"""Rows that are shown; the rest is counted."""
WIDTH, HEIGHT = 64, 16
_TEXT = "text-align:left;padding:2px 8px;white-space:nowrap"
_NUMBER = "text-align:right;padding:2px 8px;white-space:nowrap"


class Markup(str):
    """Text that is HTML already: a picture that was made here."""

    __slots__ = ()


def html_table(rows: Sequence[Mapping[str, Any]], caption: str, notes: Sequence[str] = ()) -> str:
    """Return rows as a table: what is no markup of ours is escaped.

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


def histogram(counts: Sequence[int], title: str) -> Markup:
    """Return counts as bars, from the lowest bin to the highest; the colour is that of the text around."""
    most, width = max(counts, default=0) or 1, WIDTH / max(1, len(counts))
    bars = "".join(
        f'<rect x="{place * width:.1f}" y="{HEIGHT - count / most * HEIGHT:.1f}" width="{max(width - 0.5, 0.5):.1f}" '
        f'height="{count / most * HEIGHT:.1f}"/>'
        for place, count in enumerate(counts)
        if count
    )
    return _picture(bars, WIDTH, HEIGHT, title)


def curves(lines: Mapping[str, Sequence[float | None]], width: int = 320, height: int = 120) -> Markup:
    """Return lines over the same places, each with its name at its end; values that are not finite are left out."""
    known = [value for line in lines.values() for value in line if value is not None and isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    span, places = (high - low) or 1.0, max((len(line) for line in lines.values()), default=1)
    drawn = []
    for number, (name, line) in enumerate(lines.items()):
        points = [
            (4 + place / max(1, places - 1) * (width - 110), 6 + (high - value) / span * (height - 12))
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
        drawn.append(f'<text x="{x + 5:.1f}" y="{y + 4:.1f}" font-size="10">{escape(name)} {line[-1]:.4g}</text>')
    return _picture("".join(drawn), width, height, ", ".join(lines))


def _picture(content: str, width: int, height: int, title: str) -> Markup:
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return Markup(f'<svg {size} fill="currentColor" role="img"><title>{escape(title)}</title>{content}</svg>')


def _cell(value: Any) -> str:
    if isinstance(value, Markup):
        return f"<td>{value}</td>"
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    text = f"{value:,}" if isinstance(value, int) and is_number else f"{value:.4g}" if is_number else value
    shown = "" if value is None else " × ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(text)
    return f'<td style="{_NUMBER if is_number else _TEXT}">{escape(shown)}</td>'


class Rows(list[dict[str, Any]]):
    """Rows that a function returns, which a notebook shows as a table.

    >>> Rows([{"name": "hidden1", "parameters": 300}], "layers")
    [{'name': 'hidden1', 'parameters': 300}]
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], caption: str) -> None:
        """Take rows, and what stands above them."""
        super().__init__(dict(row) for row in rows)
        self.caption = caption

    def _repr_html_(self) -> str:
        """Return the table."""
        return html_table(self, self.caption)
