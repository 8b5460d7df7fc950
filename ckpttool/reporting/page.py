"""A report as a self-contained HTML page, which loads nothing from the network."""

import shlex
from collections.abc import Sequence

from ckpttool.core.counts import counted
from ckpttool.core.pages import page as pages
from ckpttool.core.pages.elements import cell, copy_button, figure_cell, name_cell, row, table
from ckpttool.core.pages.pictures import picture
from ckpttool.core.pages.plots import curves
from ckpttool.core.shown_text import as_html
from ckpttool.reporting.drawings import flow, lineage
from ckpttool.reporting.evaluation import evaluation_section
from ckpttool.reporting.facts import MOST_OTHERS, Facts, Row
from ckpttool.reporting.scopes import Tree
from ckpttool.surgery.differing.differences import summary
from ckpttool.surgery.differing.page import layer_table
from ckpttool.surgery.filters import Filters, columns_of, mosaic, shades
from ckpttool.training.run import best_of

SHEET = 480
"""The approximate minimal width of pictures of filters, in pixels."""
MOST_MOVED = 1000
"""The largest number of layers in the table of changes."""
OTHERS = ("name", "shape", "dtype", "kind", "mean", "std")


def page(facts: Facts) -> str:
    """Return the page as HTML."""
    layers = Tree(facts)
    sections = {
        "lineage": ("History", lineage(facts) or "<p class=soft>No history.</p>"),
        "run": ("Training run", _run(facts)),
        "rows": ("Evaluation", evaluation_section(facts.evaluation) if facts.evaluation else ""),
        "moved": (f"Changes against {facts.against.path.name}" if facts.against else "", _moved(facts)),
        "flow": ("Data flow", flow(facts, layers.keys)),
        "layers": (counted(len(facts.layers), "layer").capitalize(), _layers(facts, layers)),
        "filters": ("Filters of the first layer", _filters(*facts.filters) if facts.filters else ""),
        "others": ("Other tensors", _others(facts)),
    }
    shown = {key: (title, html) for key, (title, html) in sections.items() if html}
    return pages.page(
        "ckpttool.reporting",
        facts.path.name,
        about="".join(f"<dt>{as_html(key)}</dt><dd>{as_html(text)}</dd>" for key, text in facts.about),
        notes="".join(f"<p class=soft>{as_html(note)}</p>" for note in facts.notes),
        contents="".join(f'<a href="#{key}">{as_html(title)}</a>' for key, (title, _) in shown.items()),
        sections="\n".join(_section(key, title, html) for key, (title, html) in shown.items()),
    )


def _section(key: str, title: str, html: str) -> str:
    return f'<section id="{key}"><h2>{as_html(title)}</h2>{html}</section>'


def _layers(facts: Facts, layers: Tree) -> str:
    if not facts.layers:
        return "<p class=soft>It has no weights.</p>"
    more = len(facts.layers) - len(facts.shown)
    path = shlex.quote(str(facts.path))
    commands = {"list all layers": f"ckpttool layers {path}", "figures of all tensors": f"ckpttool stats {path}"}
    said = (
        f"The first {counted(len(facts.shown), 'layer')} are shown, and summed up; {more:,} more are not shown. "
        "Commands to copy:"
    )
    buttons = " ".join(copy_button(label, command) for label, command in commands.items())
    left_out = f"<p class=soft>{said}</p><p class=buttons>{buttons}</p>" if more else ""
    return (
        left_out
        + '<p class=buttons><input type="search" id="find" placeholder="find a layer" aria-label="find a layer">'
        '<button type="button" data-fold="open">open all</button> '
        f'<button type="button" data-fold="">close all</button></p><div id="tree">{layers.html()}</div>'
    )


def _run(facts: Facts) -> str:
    """Return the training curves as HTML."""
    epochs = facts.history
    if not epochs:
        return ""
    best = best_of(epochs)
    accuracy = "" if best.valid_accuracy is None else f", accuracy {best.valid_accuracy:.4f}"
    losses = {"training": [each.loss for each in epochs], "validation": [each.valid_loss for each in epochs]}
    drawn = [curves(losses, "epoch", "loss", best.epoch)]
    figures = {"validation accuracy": "valid_accuracy", "learning rate": "learning_rate"}
    for title, name in figures.items():
        drawn.append(curves({title: [getattr(each, name) for each in epochs]}, "epoch", title, best.epoch))
    said = f"{counted(len(epochs), 'epoch')}; best epoch {best.epoch}: validation loss {best.valid_loss:.4f}{accuracy}."
    return f"<p class=soft>{as_html(said)}</p><div class=plots>{''.join(drawn)}</div>"


def _moved(facts: Facts) -> str:
    """Return the changes against another model as HTML."""
    if not facts.against:
        return ""
    diff = facts.against.diff
    still = [layer for layer in diff.layers if layer.difference == "unchanged"]
    other = tuple(layer for layer in diff.layers if layer not in still)
    said = f"Tensors: {summary(diff)}. {counted(len(still), 'layer is', 'layers are')} unchanged."
    found = f"<p>{as_html(facts.against.verdict.sentence)}</p><p class=soft>{as_html(said)}</p>"
    shown, more = other[:MOST_MOVED], len(other) - MOST_MOVED
    left_out = f"<p class=soft>{more:,} more, which moved less, are not shown.</p>" if more > 0 else ""
    return f"{found}{layer_table(shown, facts.against.spectra) if shown else ''}{left_out}"


def _filters(name: str, filters: Filters) -> str:
    """Return the pictures of a kernel's units as HTML."""
    tiles = filters.tiles
    _, high, wide, _ = tiles.shape
    columns = columns_of(len(tiles), high, wide)
    sheet = mosaic(shades(tiles), columns, 1)
    scale = max(1, round(SHEET / sheet.shape[1]))
    left_out = f" of {filters.units}" if filters.left_out else ""
    how = f", {filters.how}" if filters.how else ""
    said = f"{name}: {len(tiles)}{left_out} {filters.what}, {high} x {wide}{how}; grey is 0, each has its own scale"
    return f"<p class=soft>{as_html(said)}</p>{picture(sheet, said, scale)}"


def _others(facts: Facts) -> str:
    """Return a table of the tensors that belong to no layer: slots, step counters, texts."""
    inside = {name for layer in facts.layers for name in layer["variables"]}
    others = [each for name, each in facts.tensors.items() if name not in inside]
    if not others:
        return ""
    rows = table("other-tensors", OTHERS, map(_other, others[:MOST_OTHERS]), OTHERS[4:])
    more = len(others) - MOST_OTHERS
    said = f"<p class=soft>{more:,} more are not shown.</p>" if more > 0 else ""
    return f"<details><summary>{counted(len(others), 'tensor')}: {_kinds(others)}</summary>{rows}{said}</details>"


def _kinds(others: Sequence[Row]) -> str:
    names = {"slot": "optimizer slots", "step": "step counters"}
    kinds = {names.get(each["kind"], str(each["kind"])): None for each in others}
    return as_html(", ".join(kinds))


def _other(each: Row) -> str:
    words = (cell(each[key]) for key in OTHERS[1:4])
    return row(name_cell(each["name"]), *words, *(figure_cell(each.get(key)) for key in OTHERS[4:]))
