"""The page of layouts contains every layout, as calls that can be parsed."""

import re
from pathlib import Path

from ckpttool.layouts import Layout, parse_layout
from ckpttool.layouts.attention import Attention
from ckpttool.layouts.recurrent import Gru, Lstm

PAGE = (Path(__file__).parents[2] / "docs" / "layouts.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the rows below a heading."""
    rows = PAGE.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_layout_has_a_row() -> None:
    assert sorted(parse_layout(row[0].strip("`")).name for row in table("layout")) == sorted(Layout.known())


def test_every_form_has_its_arrays() -> None:
    named = {
        (kind, form)
        for row in table("form")
        for kind in re.findall(r"`(\w+)`", row[0].partition(":")[0])
        for form in re.findall(r"`(\w+)`", row[0].partition(":")[2])
    }
    assert named == {(kind.name, form) for kind in (Lstm, Gru, Attention) for form in kind.forms}


def test_calls_in_the_text_are_read() -> None:
    calls = re.findall(rf"`((?:{'|'.join(Layout.known())})\([^`]*\))`", PAGE)
    assert len(calls) > 6
    for call in calls:
        parse_layout(call)
