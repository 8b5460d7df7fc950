"""The ancestry of models in a catalogue, from their lineage records, their cards, and their tensors.

A recorded source is identified by its hash, and therefore found under any name; a source that is not in the catalogue
is shown under its recorded name. Other ancestors follow from layers that are identical to those of older revisions.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.catalogue.names import selector
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError
from ckpttool.lineage.file_hash import hash_of
from ckpttool.zoo.kinship import Kinship

MOST_OUTSIDE = 4
"""The maximum number of sources outside of the catalogue that are shown per model."""
_ZIPS = (".keras", ".npz", ".pt", ".pth", ".zip")


@dataclass(frozen=True)
class Origin:
    """An ancestor of a model: a revision `N@2` or another name, the evidence, and whether it is recorded."""

    source: str
    why: str
    recorded: bool = True
    inside: bool = True


@dataclass(frozen=True)
class Ancestry:
    """The origins of each revision of a catalogue, by its name `N@2`, oldest revisions first."""

    origins: Mapping[str, Sequence[Origin]] = field(default_factory=dict)

    @classmethod
    def of(cls, catalogue: Catalogue, revisions: Sequence[tuple[Manifest, Kinship]]) -> "Ancestry":
        """Determine the origins of revisions."""
        every = sorted(revisions, key=lambda each: (each[0].created, each[0].name, each[0].revision))
        places = _Places.of(catalogue, [manifest for manifest, _ in every])
        found = {str(manifest): list(_recorded(manifest, places)) for manifest, _ in every}
        for manifest, kinship in every:
            own = found[str(manifest)]
            direct = {each.source for each in own}
            further = {old.source for each in direct for old in found.get(each, ()) if each in found}
            own[:] = [each for each in own if each.source not in further or not each.inside]
            of = len(kinship.layers)
            own += [
                Origin(str(kin), f"{len(kin.layers)} of {counted(of, 'layer')} byte for byte", recorded=False)
                for kin in kinship.kin
                if kin.older and str(kin) not in direct
            ]
        return cls(found)

    def around(self, entry: str, most: int) -> list[str]:
        """Return the ancestors and descendants of a revision, the nearest ones if there are many; oldest first."""
        after = defaultdict[str, list[str]](list)
        for name, origins in self.origins.items():
            for each in origins:
                after[each.source].append(name)
        before = {name: [each.source for each in origins] for name, origins in self.origins.items()}
        found = {entry: 0}
        for beside in (before, after):
            edge = [entry]
            while edge and len(found) < most:
                edge = [near for each in edge for near in beside.get(each, ()) if near not in found][:most]
                found.update(dict.fromkeys(edge[: max(0, most - len(found))], 0))
        outside = [name for name in found if name not in self.origins]
        return [*outside, *(name for name in self.origins if name in found)]


@dataclass(frozen=True)
class _Places:
    """Lookup tables: the revisions by the hash of their files, and the latest revision of each entry."""

    by_hash: Mapping[str, Sequence[str]]
    latest: Mapping[str, int]

    @classmethod
    def of(cls, catalogue: Catalogue, manifests: Iterable[Manifest]) -> "_Places":
        """Build the tables; only the directories of zip files, which identify them, are hashed anew."""
        by_hash, latest = defaultdict[str, list[str]](list), dict[str, int]()
        for manifest in manifests:
            latest[manifest.name] = max(manifest.revision, latest.get(manifest.name, 0))
            for file in manifest.files:
                by_hash[f"sha256:{file.sha256}"].append(str(manifest))
                if PurePath(file.path).suffix in _ZIPS:
                    with suppress(CkptError, OSError):  # compacted or damaged: identified by its layers
                        by_hash[hash_of([catalogue.blob(file.sha256)])].append(str(manifest))
        return cls(by_hash, latest)

    def named(self, text: str) -> str | None:
        """Return the revision that a card refers to, or None if it is not in this catalogue."""
        with suppress(CkptError):
            chosen = selector(text)
            if chosen.name in self.latest and chosen.tag is None:
                return f"{chosen.name}@{chosen.revision or self.latest[chosen.name]}"
        return None


def _recorded(manifest: Manifest, places: _Places) -> Iterator[Origin]:
    """Yield the origins that a revision's lineage and card record."""
    own, seen = str(manifest), {str(manifest)}
    outside = dict[str, str]()
    for number, record in enumerate(_rows(manifest.lineage.get("records"))[::-1]):
        command = str(record.get("command"))
        for source in _rows(record.get("sources")):
            here = [each for each in places.by_hash.get(str(source.get("hash")), ()) if each != own]
            if here and here[0] not in seen:
                seen.add(here[0])
                yield Origin(here[0], command)
            elif not here and number == 0:
                outside.setdefault(PurePath(str(source.get("path"))).name.removesuffix(".meta"), command)
    bases = manifest.card.get("base_model")
    for base in map(str, bases if isinstance(bases, list) else [bases] if bases else []):
        source_entry = places.named(base)
        if source_entry is None:
            outside.setdefault(base, "base model")
        elif source_entry not in seen:
            seen.add(source_entry)
            yield Origin(source_entry, "base model")
    for name, why in [*outside.items()][:MOST_OUTSIDE] if len(seen) == 1 else ():
        yield Origin(name, why, inside=False)


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
