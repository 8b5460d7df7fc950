"""Showing an entry of the catalogue: its manifest, as JSON or text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from ckpttool.catalogue.manifest import Manifest, Row
from ckpttool.core.counts import counted, human_size
from ckpttool.core.names import listed
from ckpttool.zoo.card import card_lines, readme, with_text
from ckpttool.zoo.index import asked
from ckpttool.zoo.kinship import Kinship, kinship
from ckpttool.zoo.mirrors import to_look_at

MOST_AXES = 255
"""More dimensions than any tensor has."""


@dataclass(frozen=True)
class Shown:
    """A revision of an entry, its tags, and the other revisions that contain layers of it."""

    manifest: Manifest
    tags: Mapping[str, int]
    kinship: Kinship = field(default_factory=Kinship)

    def as_json(self) -> dict[str, Any]:
        """Return everything known about it."""
        names = [tag for tag, revision in self.tags.items() if revision == self.manifest.revision]
        kin = {"kin": [each.as_json() for each in self.kinship.kin], "also_share": self.kinship.others}
        return {**self.manifest.as_json(), "bytes": self.manifest.nbytes, "named": names, **kin}

    def title(self) -> str:
        """Return a title in one line."""
        own = self.manifest
        size = f"{counted(own.parameters, 'parameter')} in {counted(len(own.layers), 'layer')}"
        return f"{own}: {own.family}, {size}, {counted(len(own.files), 'file')}, {human_size(own.nbytes)}"

    def lines(self) -> Iterator[str]:
        """Yield lines of text."""
        own = self.manifest
        yield self.title()
        yield f"added {own.created}"
        if names := self.as_json()["named"]:
            yield f"tags: {', '.join(names)}"
        yield from self.kinship.lines()
        yield from card_lines({key: value for key, value in own.card.items() if key != "tags"})
        for key in ("inputs", "outputs"):
            for row in getattr(own, key):
                yield f"{key[:-1]} {row.get('name')} {row.get('shape')} {row.get('dtype')}"
        if own.preprocess:
            yield f"preprocessing: {own.preprocess}"
        if own.classes:
            yield f"{counted(len(own.classes), 'class', 'classes')}: {listed(list(map(str, own.classes)), 10)}"

    def layer_rows(self) -> list[dict[str, Any]]:
        """Return a row for each layer: its kind, the shape of its largest weight, and the older revision it is from."""
        of = {name: str(kin) for kin in self.kinship.kin[::-1] if kin.older for name in kin.layers}
        return [_layer_row(layer, of) for layer in self.manifest.layers]

    def file_rows(self) -> list[dict[str, Any]]:
        """Return a row for each file."""
        return [
            {"file": each.path, "size": human_size(each.nbytes), "sha256": each.sha256[:12]}
            for each in self.manifest.files
        ]

    def text(self) -> list[str]:
        """Return the user's description by lines."""
        return str(self.manifest.card.get("text") or "").splitlines()

    def card(self) -> str:
        """Return its card in the form of the Hub's `README.md`."""
        return readme(with_text(self.manifest))


def _layer_row(layer: Row, of: Mapping[str, str]) -> dict[str, Any]:
    shapes = layer.get("shapes")
    weights = [each for each in shapes if _is_shape(each)] if isinstance(shapes, list) else []
    name, output = layer.get("name"), layer.get("output_shape")
    return {
        "layer": name,
        "kind": layer.get("kind"),
        "weights": max(weights, key=prod, default=None),
        "output": _shown(output) if isinstance(output, list) else None,
        "parameters": layer.get("parameters"),
        "same as": of.get(name) if isinstance(name, str) else None,
    }


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) < MOST_AXES and all(isinstance(each, int) for each in value)


def _shown(shape: list[Any]) -> str:
    """Return a shape as text, with ? for variable dimensions."""
    return f"[{', '.join('?' if each is None else str(each) for each in shape)}]"


def zoo_show(entry: str, root: Path | None = None) -> Shown:
    """Return an entry of the catalogue.

    Raises:
        UnknownName: the entry does not exist.
        CorruptCheckpoint: its manifest is damaged.
    """
    catalogue = to_look_at(root)
    manifest = catalogue.find(entry)
    kin = asked(catalogue, lambda index: kinship(manifest, index, catalogue.manifest))
    return Shown(manifest, catalogue.tags(manifest.name), kin)
