"""The documentation's site: it builds without a warning, links have targets, nothing is loaded from elsewhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r'\s(?:href|src)="?([^"\s>]+)')
FETCHED = re.compile(
    r'<(?:script|img|iframe)[^>]*\ssrc="?(?:https?:)?//|<link[^>]*rel="?(?:stylesheet|preload|icon)[^>]*//'
)
ANCHOR = re.compile(r'\s(?:id|name)="?([^"\s>]+)')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as built by `make site`: its configuration makes warnings errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # not with --quiet, which would hide warnings from --strict, too
    assert "WARNING" not in done.stderr
    return folder


def test_links_and_anchors_lead_somewhere(site: Path) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    anchors = {page: set(ANCHOR.findall(text)) for page, text in pages.items()}
    assert len(pages) > 40
    lost = []
    for page, text in pages.items():
        for link in LINK.findall(text):
            path, anchor = urldefrag(unquote(link))
            if re.match(r"[a-z]+:|/", path) or page.name == "404.html":
                continue
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and not anchor.startswith("__") and anchor not in anchors[target]):
                lost.append(f"{page.relative_to(site)}: {link}")
    assert lost == []


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    assert [page.name for page in site.rglob("*.html") if FETCHED.search(page.read_text(encoding="utf-8"))] == []
    assert "//" not in re.sub(r"xmlns(:\w+)?=\S+|<!--.*?-->", "", (site / "demo.svg").read_text(encoding="utf-8"))


def test_commands_messages_and_names_are_found_by_searching(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {entry["title"] for entry in index["docs"]}
    assert {"ckpttool finetune", "it is truncated", "finetune", "Coming from mergekit"} <= found


def test_every_page_of_the_repository_is_in_the_site(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    named = {page.with_name("index.html") if page.name == "README.html" else page for page in pages}
    assert sorted(page for page in named if not (site / page).exists()) == []


def test_notebooks_are_pages_with_what_their_cells_gave(site: Path) -> None:
    pages = sorted((site / "notebooks").glob("*.html"))
    assert [page.stem for page in pages] == ["how-much-to-reuse", "pytorch-into-a-graph", "reuse-on-your-images"]
    assert all("<table" in page.read_text(encoding="utf-8") for page in pages)
    assert not list(site.rglob("*.ipynb"))
