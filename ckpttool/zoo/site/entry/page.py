"""The page of one revision: description, usage, layers, files, and ancestry."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ckpttool.catalogue.manifest import Manifest, Row
from ckpttool.core.counts import counted, human_size
from ckpttool.core.pages import page as pages
from ckpttool.core.pages.drawing import Box, drawing
from ckpttool.core.pages.elements import badge, cell, copy_button, figure_cell, name_cell, plain_table, row, table
from ckpttool.core.shown_text import as_html
from ckpttool.zoo.ancestry import Ancestry
from ckpttool.zoo.card import card_lines
from ckpttool.zoo.site.entry.card_html import LONGEST, card_html
from ckpttool.zoo.site.page import Listed

MOST_BOXES = 40
"""The maximum number of revisions and sources in a lineage diagram."""
_LONGEST_TEXT = 200_000
"""The maximum number of characters of a card's text that are shown."""


def page(
    entry: Listed,
    ancestry: Ancestry,
    revisions: Sequence[int],
    known: Mapping[str, Manifest],
    commands: Iterable[str] = (),
) -> str:
    """Return the page of a revision.

    Args:
        entry: The revision.
        ancestry: The ancestry of all revisions.
        revisions: The numbers of the entry's revisions.
        known: All revisions by their names.
        commands: Commands that use it, to be copied.
    """
    own = entry.manifest
    return pages.page(
        "ckpttool.zoo.site.entry",
        str(own),
        badges=" ".join([badge(own.family), *(badge(str(tag), "still") for tag in entry.row["tags"])]),
        summary=as_html(_summary(own)),
        revisions=_revisions(own, revisions),
        commands="".join(f"<li><code>{as_html(each)}</code> {copy_button('copy', each)}</li>" for each in commands),
        said="".join(f"<li>{as_html(line)}</li>" for line in _said(own)),
        lineage=_lineage(entry, ancestry, known),
        sides=_sides(own),
        layers=_layers(entry),
        files=plain_table(["file", "size", "SHA-256"], map(_file, own.as_json()["files"]), ["size"], "files"),
        text=_text(own.card.get("text")),
    )


def _summary(manifest: Manifest) -> str:
    size = f"{manifest.parameters:,} parameters in {counted(len(manifest.layers), 'layer')}"
    return f"{size}, {counted(len(manifest.files), 'file')}, {human_size(manifest.nbytes)}; added {manifest.created}"


def _revisions(manifest: Manifest, revisions: Sequence[int]) -> str:
    others = [
        f'<a href="{manifest.name}@{number}.html">@{number}</a>' if number != manifest.revision else f"<b>@{number}</b>"
        for number in revisions[::-1]
    ]
    return f"Revisions: {' '.join(others)}" if len(others) > 1 else ""


def _said(manifest: Manifest) -> Iterator[str]:
    """Yield the user's description, and facts about its rows."""
    yield from card_lines({key: value for key, value in manifest.card.items() if key != "tags"})
    if manifest.preprocess:
        yield f"preprocessing: {manifest.preprocess}"
    if manifest.classes:
        yield f"{counted(len(manifest.classes), 'class', 'classes')}: {', '.join(map(str, manifest.classes))}"
    if manifest.source:
        yield f"pulled from {manifest.source.get('url')}, {manifest.source.get('revision')}"


def _lineage(entry: Listed, ancestry: Ancestry, known: Mapping[str, Manifest]) -> str:
    """Return the ancestors and descendants of a revision, as lines and as a diagram."""
    own = str(entry.manifest)
    lines = [f"{each.source}: {each.why}" for each in ancestry.origins.get(own, ()) if each.recorded]
    lines += list(entry.kinship.lines())
    if not lines:
        return "<p>Its origin is unknown, and no other revision shares layers with it.</p>"
    near = ancestry.around(own, MOST_BOXES)
    origins = [(each, name) for name in near for each in ancestry.origins.get(name, ()) if each.source in near]
    drawn = drawing(
        {name: _box(name, own, known) for name in near},
        [(each.source, name) for each, name in origins],
        f"What {own} comes from, and what comes from it",
        [(each.source, name) for each, name in origins if not each.recorded],
    )
    listed = "".join(f"<li>{as_html(line)}</li>" for line in lines)
    note = "A line is recorded lineage; a dashed one says that layers are the same byte for byte."
    return f'<ul>{listed}</ul>{drawn}<p class="soft">{note}</p>' if len(near) > 1 else f"<ul>{listed}</ul>"


def _box(name: str, own: str, known: Mapping[str, Manifest]) -> Box:
    manifest = known.get(name)
    if manifest is None:
        return Box(name, "not in the catalogue", f"{name}, which is not in the catalogue", "file")
    size = f"{manifest.parameters:,} parameters"
    return Box(name, size, f"{name}: {size}", "moved" if name == own else "still", page=f"{name}.html")


def _sides(manifest: Manifest) -> str:
    """Return the inputs and outputs."""
    rows = [
        row(
            cell(side), name_cell(str(each.get("name"))), cell(_shape(each.get("shape"))), cell(each.get("dtype") or "")
        )
        for side, some in (("input", manifest.inputs), ("output", manifest.outputs))
        for each in some
    ]
    return f"<h2>Inputs and outputs</h2>{plain_table(['', 'name', 'shape', 'dtype'], rows)}" if rows else ""


def _layers(entry: Listed) -> str:
    """Return the table of layers, with their kinds and shapes."""
    same = {name: f"{kin}" for kin in reversed(entry.kinship.kin) for name in kin.layers if kin.older}
    rows = (_layer(each, same) for each in entry.manifest.layers)
    heads = ["layer", "kind", "output", "weights", "parameters", "same as"]
    return table("layers", heads, rows, ["parameters"])


def _layer(layer: Row, same: Mapping[str, str]) -> str:
    name, parameters = layer.get("name"), layer.get("parameters")
    own = same.get(name) if isinstance(name, str) else None
    link = f'<td><a href="{as_html(own)}.html">{as_html(own)}</a></td>' if own else "<td></td>"
    number = parameters if isinstance(parameters, int) else None
    shapes = layer.get("shapes")
    weights = " ".join(map(_shape, shapes)) if isinstance(shapes, list) else ""
    return row(
        name_cell(str(name)),
        cell(layer.get("kind") or ""),
        cell(_shape(layer.get("output_shape"))),
        cell(weights),
        figure_cell(number, None if number is None else f"{number:,}"),
        link,
    )


def _shape(shape: Any) -> str:
    """Return a shape as text, with ? for unknown sizes."""
    if not isinstance(shape, list):
        return ""
    return f"[{', '.join('?' if each is None else str(each) for each in shape)}]"


def _file(file: Mapping[str, Any]) -> str:
    sha256 = file["sha256"]
    hashed = f'<td class="hash"><code>{sha256}</code> {copy_button("copy", sha256)}</td>'
    return row(name_cell(file["path"]), figure_cell(file["bytes"], human_size(file["bytes"])), hashed)


def _text(text: Any) -> str:
    """Return the text of a card, converted from Markdown; a very long one as plain text."""
    if not isinstance(text, str) or not text.strip():
        return ""
    if len(text) <= LONGEST:
        return f'<h2>Card</h2><div class="card markdown">{card_html(text)}</div>'
    lines = text[:_LONGEST_TEXT].expandtabs(4).split("\n")
    return f'<h2>Card</h2><div class="card text">{chr(10).join(map(as_html, lines))}</div>'
