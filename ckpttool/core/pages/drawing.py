"""Drawings of graphs as SVG: boxes in rows, each below its predecessors, and lines between them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ckpttool.core.shown_text import as_html

BOX, HIGH, ASIDE, BELOW = 176, 38, 18, 30
"""Sizes in pixels: of a box, the gap beside it, and the gap below it for lines."""
LETTERS = 24
"""Maximum length of a text line in a box; the middle of longer ones is cut out."""
ROUNDS = 4
"""Number of passes in which rows are sorted by the positions of their neighbours."""


@dataclass(frozen=True)
class Box:
    """A box: two lines of text, a tooltip, its kind (a CSS class), and a link.

    The link leads to the element `target` on this page, or on the page in the file `page`.
    """

    text: str
    below: str = ""
    title: str = ""
    kind: str = ""
    target: str = ""
    page: str = ""


def drawing(
    boxes: Mapping[str, Box],
    lines: Sequence[tuple[str, str]],
    label: str,
    dashed: Collection[tuple[str, str]] = (),
) -> str:
    """Return the drawing of boxes, given by key, and of lines between them, some dashed; `label` describes it.

    Lines back to an earlier box, as in loops, do not affect the rows.

    >>> drawing({"a": Box("first"), "b": Box("<second>")}, [("a", "b")], "two").count("<rect")
    2
    """
    order = {key: number for number, key in enumerate(boxes)}
    forward = [(one, other) for one, other in dict.fromkeys(lines) if order[one] < order[other]]
    rows = _rows(list(boxes), forward)
    widest = max(map(len, rows), default=1)
    width = widest * (BOX + ASIDE) + ASIDE
    height = len(rows) * (HIGH + BELOW)
    places = {
        key: (int((width - len(row) * (BOX + ASIDE) + ASIDE) / 2 + number * (BOX + ASIDE)), 4 + level * (HIGH + BELOW))
        for level, row in enumerate(rows)
        for number, key in enumerate(row)
    }
    drawn = (_line(places[one], places[other], (one, other) in dashed) for one, other in forward)
    return (
        f'<div class="wide"><svg class="drawing" viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{as_html(label)}">{"".join(drawn)}'
        f"{''.join(_box(box, *places[key]) for key, box in boxes.items())}</svg></div>"
    )


def _rows(keys: Sequence[str], lines: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Return the keys in rows: the row of a key is the length of the longest path to it; neighbours are kept close."""
    before: dict[str, list[str]] = {key: [] for key in keys}
    for one, other in lines:
        before[other].append(one)
    level: dict[str, int] = {}
    for key in keys:  # lines lead from earlier keys to later ones
        level[key] = max((level[other] + 1 for other in before[key]), default=0)
    after = {key: [other for one, other in lines if one == key] for key in keys}
    for key in reversed(keys):  # boxes without predecessors are placed right above their successors
        if not before[key] and after[key]:
            level[key] = min(level[other] for other in after[key]) - 1
    rows: list[list[str]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for key in keys:
        rows[level[key]].append(key)
    for number in range(ROUNDS):
        beside = after if number % 2 else before
        for row in reversed(rows) if number % 2 else rows:
            place = {key: (at + 0.5) / len(line) for line in rows for at, key in enumerate(line)}
            row.sort(key=lambda key: _mean([place[other] for other in beside[key]], place[key]))
    return rows


def _mean(places: Sequence[float], own: float) -> float:
    return sum(places) / len(places) if places else own


def _line(start: tuple[int, int], end: tuple[int, int], dashed: bool) -> str:
    """Return a line from the bottom of one box to the top of another."""
    (x, y), (to_x, to_y) = (start[0] + BOX // 2, start[1] + HIGH), (end[0] + BOX // 2, end[1])
    kind = ' class="dashed"' if dashed else ""
    return f'<path{kind} d="M{x} {y}C{x} {y + BELOW} {to_x} {to_y - BELOW} {to_x} {to_y}"/>'


def _box(box: Box, x: int, y: int) -> str:
    title = f"<title>{as_html(box.title or box.text)}</title>"
    middle, first = x + BOX // 2, y + (16 if box.below else 23)
    texts = f'<text x="{middle}" y="{first}">{as_html(_short(box.text))}</text>'
    if box.below:
        texts += f'<text class="below" x="{middle}" y="{y + 31}">{as_html(_short(box.below))}</text>'
    kind = f' class="{box.kind}"' if box.kind else ""
    drawn = f'<g{kind}>{title}<rect x="{x}" y="{y}" width="{BOX}" height="{HIGH}" rx="6"/>{texts}</g>'
    if not (box.target or box.page):
        return drawn
    place = f"#{box.target}" if box.target else ""
    return f'<a href="{as_html(box.page + place)}">{drawn}</a>'


def _short(text: str) -> str:
    half = LETTERS // 2
    return text if len(text) <= LETTERS else f"{text[: half - 1]}…{text[-half:]}"
