"""The frame of pages: which of its parts a browser runs, its dark and light themes, its escaping."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.pages import page as pages
from ckpttool.core.pages.elements import copy_button, figure_cell, name_cell, row, table

DIFFERING = "ckpttool.surgery.differing"
PARTS = dict.fromkeys(("verdict", "summary", "files", "counts", "layers", "maps", "weights", "others"), "")
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def test_a_browser_runs_the_page_s_own_scripts_alone(browser: Any, tmp_path: Path) -> None:
    html = pages.page(DIFFERING, "a", **{**PARTS, "weights": "<script>document.title = 'taken'</script>"})
    (tmp_path / "page.html").write_text(html)
    page, said = browser.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.title() == "a"
    assert len(said) == 1 and "Content Security Policy" in said[0]
    page.close()


@pytest.mark.parametrize(("scheme", "other"), [("dark", "light"), ("light", "dark")])
def test_it_is_dark_where_that_is_asked_for_and_can_be_switched(
    browser: Any, tmp_path: Path, scheme: str, other: str
) -> None:
    (tmp_path / "page.html").write_text(pages.page(DIFFERING, "a", **PARTS))
    colours = {}
    for asked in (scheme, other):
        page = browser.new_page(color_scheme=asked)
        page.goto((tmp_path / "page.html").as_uri())
        colours[asked] = page.evaluate(BACKGROUND)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert colours[scheme] != colours[other]
    assert page.evaluate(BACKGROUND) == colours[scheme]


def test_texts_of_files_are_escaped(tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    name = "</td><script>alert(1)</script>\x1b'\""
    rows = [row(name_cell(name), figure_cell(float("nan")), f"<td>{copy_button(name, name)}</td>", key=name)]
    weights = table(name, ["name", "figure", name], rows, ["figure"])
    (tmp_path / "page.html").write_text(pages.page(DIFFERING, name, **{**PARTS, "weights": weights}))
    page = opened(tmp_path / "page.html")
    assert (
        page.locator("td.name").inner_text() == page.locator("td button").inner_text() == name.replace("\x1b", r"\x1b")
    )
    assert page.title() == name.replace("\x1b", r"\x1b")
