"""Showing an entry of the catalogue: what its manifest says, in JSON or for people."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.counts import counted
from ckpttool.core.tensors import human_size
from ckpttool.zoo.index import asked
from ckpttool.zoo.kinship import Kinship, kinship
from ckpttool.zoo.mirrors import to_look_at


@dataclass(frozen=True)
class Shown:
    """A revision of an entry, the tags that name it, and which other revisions hold layers of it."""

    manifest: Manifest
    tags: Mapping[str, int]
    kinship: Kinship = field(default_factory=Kinship)

    def as_json(self) -> dict[str, Any]:
        """Return all that is known of it."""
        names = [tag for tag, revision in self.tags.items() if revision == self.manifest.revision]
        kin = {"kin": [each.as_json() for each in self.kinship.kin], "also_share": self.kinship.others}
        return {**self.manifest.as_json(), "bytes": self.manifest.nbytes, "named": names, **kin}

    def title(self) -> str:
        """Return what it is, in one line."""
        own = self.manifest
        size = f"{counted(own.parameters, 'parameter')} in {counted(len(own.layers), 'layer')}"
        return f"{own}: {own.family}, {size}, {counted(len(own.files), 'file')}, {human_size(own.nbytes)}"

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        own = self.manifest
        yield self.title()
        yield f"added {own.created}"
        if names := self.as_json()["named"]:
            yield f"tags: {', '.join(names)}"
        yield from self.kinship.lines()
        for key, value in own.card.items():
            if value and key not in ("text", "tags"):
                yield f"{key}: {_said(value)}"
        for key in ("inputs", "outputs"):
            for row in getattr(own, key):
                yield f"{key[:-1]} {row.get('name')} {row.get('shape')} {row.get('dtype')}"
        if own.preprocess:
            yield f"preprocessing: {own.preprocess}"
        if own.classes:
            yield f"{len(own.classes)} classes: {', '.join(own.classes[:10])}"
        for layer in own.layers:
            size = counted(layer.get("parameters") or 0, "parameter")
            yield f"layer {layer.get('name')}: {layer.get('kind') or 'layer'}, {size}"
        for file in own.files:
            yield f"file {file.path}: {human_size(file.nbytes)}, sha256 {file.sha256[:12]}"
        if text := own.card.get("text"):
            yield ""
            yield from str(text).splitlines()


def _said(value: Any) -> str:
    """Return a field of a card as people read it."""
    if isinstance(value, list):
        return ", ".join(_said(each) for each in value)
    if isinstance(value, dict):
        return f"{value.get('name')} {value.get('value')}"
    return str(value)


def zoo_show(entry: str, root: Path | None = None) -> Shown:
    """Read what the catalogue knows of an entry.

    Raises:
        UnknownName: there is no such entry.
        CorruptCheckpoint: its manifest is damaged.
    """
    catalogue = to_look_at(root)
    manifest = catalogue.find(entry)
    kin = asked(catalogue, lambda index: kinship(manifest, index, catalogue.manifest))
    return Shown(manifest, catalogue.tags(manifest.name), kin)
