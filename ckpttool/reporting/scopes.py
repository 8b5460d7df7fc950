"""The layers of a model on a page, as a tree of scopes that can be opened down to the tensors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ckpttool.core.counts import human_size
from ckpttool.core.names import scopes_above
from ckpttool.core.pages.elements import badge, copy_button, figure
from ckpttool.core.pages.plots import histogram
from ckpttool.core.pattern_text import shortest_pattern
from ckpttool.core.shown_text import as_html
from ckpttool.reporting.facts import Facts, Row

OPEN = 24
"""The largest number of lines of the tree when the page is opened; it determines how many levels are open."""
FIGURES = ("mean", "std", "min", "max", "norm")
TROUBLES = {"nan": "NaN", "inf": "infinite"}


@dataclass
class Scope:
    """A scope: its full name, the layer of that name if there is one, and the scopes in it, in order."""

    name: str
    layer: Row | None = None
    inside: dict[str, "Scope"] = field(default_factory=dict)

    def layers(self) -> Iterator[Row]:
        """Yield the layers in it."""
        if self.layer is not None:
            yield self.layer
        for scope in self.inside.values():
            yield from scope.layers()


def tree(layers: Sequence[Row]) -> Scope:
    """Return the scopes of layers; a scope with a single scope in it and no layer is skipped.

    >>> rows = [{"name": name} for name in ("net/block/a", "net/block/b", "net/out")]
    >>> [(each.name, list(each.inside)) for each in tree(rows).inside.values()]
    [('net', ['net/block', 'net/out'])]
    """
    root = Scope("")
    for layer in layers:
        scope = root
        for name in scopes_above(layer["name"]):
            scope = scope.inside.setdefault(name, Scope(name))
        scope.layer = layer
    return _without_single(root)


def _without_single(scope: Scope) -> Scope:
    inside = [_without_single(each) for each in scope.inside.values()]
    if scope.name and scope.layer is None and len(inside) == 1:
        return inside[0]
    return Scope(scope.name, scope.layer, {each.name: each for each in inside})


class Tree:
    """The tree of a model's layers on a page; `keys` contains the element ids of layers."""

    def __init__(self, facts: Facts) -> None:
        """Build the tree of the model's scopes."""
        self._facts, self._root = facts, tree(facts.shown)
        self.keys = {layer["name"]: f"layer-{number}" for number, layer in enumerate(facts.shown)}
        self._moved = {change.name: change for change in facts.against.diff.layers} if facts.against else {}
        self._changed = {change.name: change for change in facts.against.diff.changed} if facts.against else {}

    def html(self) -> str:
        """Return the tree as HTML."""
        return "".join(self._scope(scope, "", self._open_levels()) for scope in self._root.inside.values())

    def _open_levels(self) -> int:
        """Return the number of levels that are initially open."""
        level, levels = list(self._root.inside.values()), 0
        shown = len(level)
        while level:
            level = [scope for above in level for scope in above.inside.values()]
            shown += len(level)
            if not level or shown > OPEN:
                break
            levels += 1
        return levels

    def _scope(self, scope: Scope, above: str, levels: int) -> str:
        """Return a scope with its contents as HTML."""
        layers = list(scope.layers())
        names = [name for layer in layers for name in layer["variables"]]
        parameters = sum(layer["parameters"] for layer in layers)
        key = f' id="{self.keys[scope.name]}"' if scope.layer is not None else ""
        label = scope.name[len(above) :].lstrip("/.") if above else scope.name
        count = f"{parameters:,} parameters"
        head = f'<code title="{as_html(scope.name)}">{as_html(label)}</code><span class=soft>{count}</span>'
        if scope.layer is not None:
            head += f"<span class=soft>{as_html(_gives(scope.layer))}</span>"
        tensors = "".join(self._tensor(name, scope.name) for name in (scope.layer or {}).get("variables", ()))
        inside = "".join(self._scope(each, scope.name, levels - 1) for each in scope.inside.values())
        return (
            f"<details class=scope{key}{' open' if levels > 0 and inside else ''}>"
            f"<summary>{head}{self._said(scope, names)}</summary>{self._tools(scope, names)}{tensors}{inside}</details>"
        )

    def _said(self, scope: Scope, names: Sequence[str]) -> str:
        """Return badges: whether the weights in a scope are trained, how they changed, and problems."""
        known = {self._facts.trained[name] for name in names if name in self._facts.trained}
        badges = []
        if known:
            word = "partly trained" if len(known) > 1 else "trained" if known.pop() else "frozen"
            badges.append(badge(word, "still" if word == "frozen" else ""))
        if scope.layer is not None and (change := self._moved.get(scope.name)):
            far = f"moved {100 * change.relative_l2:.3g} %" if change.relative_l2 else change.difference
            badges.append(badge(far, "moved" if change.difference == "moved" else "still"))
        for key, word in TROUBLES.items():
            if count := sum(self._facts.tensors.get(name, {}).get(key) or 0 for name in names):
                badges.append(badge(f"{count} {word}", "bad"))
        return "".join(badges)

    def _tools(self, scope: Scope, names: Sequence[str]) -> str:
        """Return the layers that a scope reads, and buttons with commands for it."""
        pattern = shortest_pattern([scope.name])
        buttons = "".join(copy_button(label, text) for label, text in self._facts.commands(scope.name, pattern))
        links = "".join(f" {self._link(name)}" for name in self._facts.links.get(scope.name, ()))
        return f"<p class=tools>{f'<span class=soft>takes from</span>{links} ' if links else ''}{buttons}</p>"

    def _link(self, name: str) -> str:
        text = f"<code>{as_html(name)}</code>"
        return f'<a href="#{self.keys[name]}">{text}</a>' if name in self.keys else text

    def _tensor(self, name: str, layer: str) -> str:
        """Return a tensor as HTML: its shape and dtype, statistics and histogram."""
        row = self._facts.tensors.get(name)
        own = name[len(layer) :].lstrip("/.") or name
        if row is None:  # in the graph, but not in the checkpoint
            return f"<div class=tensor><code>{as_html(own)}</code></div>"
        size = "" if row["bytes"] is None else f", {human_size(row['bytes'])}"
        what = as_html(f"{row['shape']} {row['dtype']}{size}")
        change = self._changed.get(name)
        far = change.relative_l2 if change else None
        moved = badge(f"moved {100 * far:.3g} %", "moved") if far else ""
        plot = histogram(row["edges"], row["counts"], name) if row.get("counts") else ""
        head = f'<code title="{as_html(name)}">{as_html(own)}</code> <span class=soft>{what}</span> {moved}'
        return f"<div class=tensor><div>{head}{figures(row)}</div>{plot}</div>"


def _gives(layer: Row) -> str:
    """Return the kind of a layer and the shape of its output, as far as known."""
    shape = layer.get("output_shape")
    return " ".join(filter(None, [layer.get("kind"), f"gives {shape_text(shape)}" if shape else ""]))


def shape_text(shape: Sequence[int | None] | None) -> str:
    """Return a shape as text, in which sizes may be unknown.

    >>> shape_text([None, 28, 28]), shape_text(None)
    ('[?, 28, 28]', 'of any shape')
    """
    return "of any shape" if shape is None else f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def figures(row: Mapping[str, Any]) -> str:
    """Return the statistics of a tensor as HTML.

    >>> figures({"mean": 0.5, "zeros": 2, "count": 8, "nan": 1})
    '<dl><dt>mean</dt><dd>0.5</dd><dt>zeros</dt><dd>25 %</dd><dt>NaN</dt><dd>1</dd></dl>'
    """
    pairs = [(key, figure(row[key])) for key in FIGURES if row.get(key) is not None]
    if row.get("zeros"):
        pairs.append(("zeros", f"{100 * row['zeros'] / row['count']:.3g} %"))
    pairs += [(word, str(row[key])) for key, word in TROUBLES.items() if row.get(key)]
    return f"<dl>{''.join(f'<dt>{key}</dt><dd>{value}</dd>' for key, value in pairs)}</dl>" if pairs else ""
