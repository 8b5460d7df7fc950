"""A difference between two checkpoints as a self-contained HTML page."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf, isinf
from pathlib import Path
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted, human_size
from ckpttool.core.names import layer_of
from ckpttool.core.pages import page as pages
from ckpttool.core.pages.elements import badge, cell, figure_cell, name_cell, plain_table, row, table
from ckpttool.core.pages.pictures import picture
from ckpttool.core.pages.plots import histogram
from ckpttool.core.shown_text import as_html
from ckpttool.surgery.diff import Diff, LayerChange
from ckpttool.surgery.differing.differences import rows, summary
from ckpttool.surgery.differing.heat import heat, pixels
from ckpttool.surgery.differing.matrices import matrix_shape
from ckpttool.surgery.differing.singular_values import SingularValues
from ckpttool.surgery.differing.spectrum import Spectrum
from ckpttool.surgery.differing.verdict import Verdict

COLUMNS = ("name", "shape", "dtype", "kind", "difference", "max_abs", "relative", "relative_l2", "cosine")
HEADS = {"max_abs": "max abs", "relative_l2": "relative L2"}
NUMBERS = COLUMNS[5:]
MAP = 128
"""The approximate length of a map's longer side in pixels."""
TROUBLES = {
    "nan": "new NaN",
    "inf": "new infinities",
    "dead_rows": "rows that became all zeros",
    "dead_columns": "columns that became all zeros",
}


def page(
    a: Checkpoint,
    b: Checkpoint,
    diff: Diff,
    found: Verdict,
    spectra: Mapping[str, Spectrum],
    values: Mapping[str, SingularValues],
) -> str:
    """Return the page, with every tensor of both checkpoints."""
    every = _all_rows(a, b, diff)
    weights = [each for each in every if each["kind"] == "weight"]
    others = [each for each in every if each["kind"] != "weight"]
    besides = counted(len(others), "slot or step counter", "slots and step counters")
    folded = f"<details><summary>{besides}</summary>{_table('others', others)}</details>"
    return pages.page(
        "ckpttool.surgery.differing",
        f"{_name(a)} against {_name(b)}",
        verdict=as_html(found.sentence),
        summary=as_html(f"Tensors: {summary(diff)}."),
        files=_file("A", a) + _file("B", b),
        counts="".join(_counts(diff)),
        layers=layer_table(diff.layers, spectra),
        maps="".join(_maps(a, b, diff, spectra, values)) or "<p class=soft>No matrix moved.</p>",
        weights=_table("weights", weights),
        others=folded if others else "",
    )


def _all_rows(a: Checkpoint, b: Checkpoint, diff: Diff) -> list[dict[str, Any]]:
    """Return a row per tensor: those that differ, the farthest moved first, then the others."""
    same = [{"name": name, "difference": "unchanged", "kind": diff.kinds[name]} for name in diff.same]
    every = sorted(rows(diff), key=lambda each: -(each.get("relative_l2") or 0.0)) + same
    for each in every:
        spec = (a if each["name"] in a else b)[each["name"]].spec
        each |= {"shape": str(list(spec.shape)), "dtype": str(spec.dtype)}
    return every


def _name(tensors: Checkpoint) -> str:
    return Path(tensors.path or "in memory").name


def _file(letter: str, tensors: Checkpoint) -> str:
    size = sum(spec.nbytes for spec in tensors.specs())
    path = as_html(str(tensors.path or "in memory"))
    what = f"{tensors.format or 'arrays'}, {counted(len(tensors), 'tensor')}, {human_size(size)}"
    return f'<div class="card"><b>{letter}</b><code>{path}</code><span>{as_html(what)}</span></div>'


def _counts(diff: Diff) -> Iterator[str]:
    """Yield overview counts: layers by the kind of difference, then problems of B."""
    kinds = [layer.difference for layer in diff.layers]
    for what in dict.fromkeys(kinds):
        mark = ' class="still"' if what == "unchanged" else ""
        yield f"<li{mark}>layers {what}: {kinds.count(what)}</li>"
    for trouble in ("nan", "inf", "dead_rows", "dead_columns"):
        if count := sum(getattr(change, trouble) or 0 for change in diff.changed):
            yield f'<li class="bad">{TROUBLES[trouble]}: {count}</li>'


def layer_table(layers: Sequence[LayerChange], spectra: Mapping[str, Spectrum]) -> str:
    """Return a table of layers, those that moved most first, with bars for the distances."""
    heads = ("#", "layer", "relative change", "", "directions", "weights changed")
    return plain_table(heads, _layers(layers, spectra), ("#", "", "directions", "weights changed"), "moved-layers")


def _maps(
    a: Checkpoint, b: Checkpoint, diff: Diff, spectra: Mapping[str, Spectrum], values: Mapping[str, SingularValues]
) -> Iterator[str]:
    """Yield a map of each matrix that moved, the farthest moved layers first, with its spectrum if known."""
    order = {layer.name: number for number, layer in enumerate(diff.layers)}
    weights = [change for change in diff.changed if diff.kinds[change.name] == "weight" and change.distance]
    for change in sorted(weights, key=lambda each: order.get(layer_of(each.name), 0)):
        if (found := heat(a[change.name], b[change.name])) is not None:
            rows, columns = matrix_shape(b[change.name]) or found.shape
            said = f"where {change.name} moved: {rows} rows, {columns} columns"
            scale = max(1, MAP // max(found.shape))
            far = "was all zeros" if change.relative_l2 == inf else f"{100 * (change.relative_l2 or 0.0):.3g} %"
            ranked = f"<span class=soft>directions: {spectra[change.name]}</span>" if change.name in spectra else ""
            yield (
                f"<li>{picture(pixels(found), said, scale)}<code>{as_html(change.name)}</code>"
                f"<span class=soft>{rows} x {columns}: {far}</span>{ranked}"
                f"{_bars(values[change.name]) if change.name in values else ''}</li>"
            )


def _bars(found: SingularValues) -> str:
    """Return singular values as bars, the largest first, and the number of directions with most of the change."""
    said = f"90 % in {counted(found.directions(0.9), 'direction')}, 99 % in {found.directions(0.99)}"
    drawn = histogram([1, len(found.values)], found.bars(), f"singular values of what changed in {found.name}")
    return f"<span class=soft>{said}</span>{drawn}"


def _layers(layers: Sequence[LayerChange], spectra: Mapping[str, Spectrum]) -> Iterator[str]:
    """Yield a row per layer, with a bar for its distance relative to the maximum."""
    farthest = max((layer.relative_l2 or 0.0 for layer in layers if layer.relative_l2 != inf), default=0.0)
    largest = {layer_of(each.name): each for each in sorted(spectra.values(), key=lambda each: each.of)}
    for number, layer in enumerate(layers, start=1):
        still, rank, bar, figure = layer.difference == "unchanged", "", "<i></i>", _badge(layer.difference)
        if layer.difference == "moved":
            distance = layer.relative_l2 or 0.0
            part = min(1.0, distance / farthest) if farthest else 1.0
            rank, bar = str(number), f'<i><i style="width: {100 * part:.2f}%"></i></i>'
            figure = "was all zeros" if isinf(distance) else f"{100 * distance:.3g} %"
        bars = f'<td class="track{" still" * still}">{bar}</td><td class="number">{figure}</td>'
        ranked = cell(largest.get(layer.name, ""), "number")
        counts = cell(f"{layer.changed} of {layer.tensors}", "number")
        yield row(cell(rank, "number"), name_cell(layer.name), bars, ranked, counts, kind="still" * still)


def _badge(difference: str) -> str:
    return badge(difference, "still" if difference == "unchanged" else "bad" * difference.startswith("values,"))


def _table(identity: str, table_rows: list[dict[str, Any]]) -> str:
    heads = {column: HEADS.get(column, column) for column in COLUMNS}
    return table(identity, list(heads.values()), map(_row, table_rows), [heads[column] for column in NUMBERS])


def _row(each: dict[str, Any]) -> str:
    words = (cell(each[column]) for column in COLUMNS[1:4])
    what = f"<td>{_badge(each['difference'])}</td>"
    figures = (figure_cell(each.get(column)) for column in NUMBERS)
    return row(name_cell(each["name"]), *words, what, *figures, kind="still" * (each["difference"] == "unchanged"))
