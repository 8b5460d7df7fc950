"""Hooks for mkdocs in addition to mkdocs.yml: files outside of docs/ that pages link to become part of the site.

Pages are written to be read in the repository, so their links are paths there: `../CHANGELOG.md` from a page of docs/,
`docs/cli.md` from the README. For the site they are replaced by links between its pages.
"""

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "README.md": "tour.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "fixtures/README.md": "fixtures.md",
    "trust/README.md": "trust.md",
}
"""Pages outside of docs/, by their path in the site."""
KEPT = {
    "LICENSE": "files/LICENSE.txt",
    "CITATION.cff": "files/CITATION.cff",
    "trust/survivors.txt": "files/survivors.txt",
}
"""Other files outside of docs/ that pages link to."""
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)((?:#[^)\s]*)?\))")
CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]*`)", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"^<!-- .* -->\n", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside of docs/."""
    for path, uri in {**OUTSIDE, **KEPT}.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        _render(notebook, files, config)
    return files


def _render(notebook: File, files: Files, config: MkDocsConfig) -> None:
    """Replace a notebook by a page of its cells and their outputs, with the pictures next to it."""
    name = notebook.src_uri.removesuffix(".ipynb")
    resources = {"output_files_dir": f"{posixpath.basename(name)}_files"}
    text, made = MarkdownExporter().from_filename(notebook.abs_src_path, resources)
    files.remove(notebook)
    files.append(File.generated(config, f"{name}.md", content=text))
    for picture, content in made["outputs"].items():
        files.append(File.generated(config, posixpath.join(posixpath.dirname(name), picture), content=content))


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Replace paths in the repository by links between pages; code is left unchanged."""
    here = _path_of(page.file.src_uri)
    parts = CODE.split(MARK.sub("", markdown))
    return "".join(part if number % 2 else _linked(part, here, page) for number, part in enumerate(parts))


def _path_of(uri: str) -> str:
    """Return the path of a page of the site in the repository."""
    return next((path for path, each in OUTSIDE.items() if each == uri), f"docs/{uri}")


def _linked(markdown: str, here: str, page: Page) -> str:
    """Return a text with links for the site."""

    def link(found: re.Match[str]) -> str:
        before, target, after = found.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
        if (ROOT / path).is_dir():  # its own page, or else the first file in it
            readme = ROOT / path / "README.md"
            found = readme if readme.exists() else min((ROOT / path).glob("[a-z]*.*"))
            path = found.relative_to(ROOT).as_posix()
        uri = OUTSIDE.get(path) or KEPT.get(path) or re.sub(r"\.ipynb$", ".md", os.path.relpath(path, "docs"))
        return f"{before}{posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or '.')}{after}"

    return LINK.sub(link, markdown)
