"""HDF5 files: every dataset of a file, found without following links out of it, and read on access.

External links are refused before anything is read; soft links are followed one part of the path at a time.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.shown_text import few_levels
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Checked, Tensors, pieces_of
from ckpttool.formats.hdf5.datasets import Place, checked_place
from ckpttool.formats.hdf5.heaps import require_heaps_that_end
from ckpttool.formats.hdf5.source import Hdf5Source, bytes_after, is_hdf5, opened
from ckpttool.formats.hdf5.values import bounded, has_attributes, is_plain, oddity, text_of
from ckpttool.formats.reading.path_names import PathNames
from ckpttool.formats.reading.versions import version_of

DEEPEST = 64
"""Maximum nesting depth of groups; deeper ones are a loop or an attack."""
MOST_AGAIN, MOST_LINKS = 1024, 50_000
"""Maximum number of names of objects that have another name too: of groups (nested groups with two names each double at
each level), and of datasets."""
MOST_STEPS = 50_000
"""Maximum number of parts of soft links that are followed in a file, as they may contain other soft links."""
_ENCODING = ("utf-8", "surrogateescape")
"""The error handler by which h5py decodes names, which may be any bytes."""


@dataclass
class Tree:
    """The contents of an HDF5 file: datasets as tensors by path, and the attributes of groups and datasets by path.

    `odd` has datasets with neither numbers nor texts, and describes their contents; `opaque` lists such attributes.
    `places` has the place of each dataset's values in the source.
    """

    path: Path
    tensors: dict[str, Tensor] = field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)
    opaque: list[str] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)

    def of(self, source: Hdf5Source) -> "Tree":
        """Return a copy for another source of the same file."""
        tensors = {path: place.tensor(source) for path, place in self.places.items()}
        return replace(self, path=source.path, tensors=tensors)

    @property
    def groups(self) -> Iterator[str]:
        """The paths of the groups; that of the root is empty."""
        return (path for path in self.attributes if path not in self.tensors)

    def texts(self, group: str, key: str) -> list[str] | None:
        """Return an attribute that lists names, as bytes or text; Keras splits long ones into key0, key1, ..."""
        attributes = self.attributes.get(group, {})
        parts = [attributes[key]] if key in attributes else []
        while not parts or f"{key}{len(parts)}" in attributes:
            if f"{key}{len(parts)}" not in attributes:
                return None
            parts.append(attributes[f"{key}{len(parts)}"])
        return [text_of(item) for part in parts for item in np.atleast_1d(np.asarray(part, object)).tolist()]


def read_tree(path: Path) -> Tree:
    """List a file's datasets and attributes; the values stay on the disk until a tensor is read.

    Raises:
        MissingFile: the file does not exist.
        FormatError: it is not HDF5, has links to other files, or declares more bytes than it contains.
        CorruptCheckpoint: it is damaged.
    """
    if not path.is_file():
        raise MissingFile(f"{path} is missing: no such file")
    if not is_hdf5(path):
        raise FormatError(f"{path} is not an HDF5 file")
    return walk(Hdf5Source.of(path))


def walk(source: Hdf5Source) -> Tree:
    """List the contents of a source; a file that was written and checked is not walked again after it was moved."""
    tree = _walked(source, None if source.unpacked else version_of(source.path))
    return tree if tree.path == source.path else tree.of(source)


@lru_cache(maxsize=1)
def _walked(source: Hdf5Source, version: Hashable) -> Tree:
    """List the contents of a source; formats that check the same file share the walk."""
    tree = Tree(source.path)
    require_heaps_that_end(source)
    with opened(source) as file:
        _Walk(tree, source, file).group(file, "", ())
    if after := bytes_after(source):
        tree.odd[counted(after, "byte")] = "after the end that HDF5 records"
    return tree


class _Walk:
    """A walk through a file in which every link is examined before it is followed."""

    def __init__(self, tree: Tree, source: Hdf5Source, root: Any) -> None:
        self.tree = tree
        self.source = source
        self.root = root
        self.stored, self.steps = 0, 0
        self.names = PathNames(source.path, source.size)
        self.again: Counter[int] = Counter()
        self.seen: set[int] = set()
        self.placed: dict[int, Place] = {}

    def group(self, group: Any, path: str, above: tuple[int, ...]) -> None:
        """Add a group: its attributes, its datasets and its groups."""
        address = _address(group)
        if address in above or len(above) > DEEPEST:
            raise FormatError(
                f"{self.tree.path}: the groups of {few_levels(path)} form a circle, or are nested too deeply"
            )
        self._once(address, path, MOST_AGAIN)
        self._attributes(group, path)
        for name in group:
            here = f"{path}/{text_of(name)}" if path else text_of(name)
            self.names.add(here)
            if isinstance(name, bytes):  # the result of h5py if it cannot decode them
                self.tree.odd[here] = "its name is not UTF-8"
                continue
            self._member(self._follow(group, name, here), here, (*above, address))

    def _once(self, address: int, path: str, most: int) -> bool:
        """Return whether an object is seen for the first time; objects seldom have several names.

        Raises:
            FormatError: if there are too many names of objects with several.
        """
        if address not in self.seen:
            self.seen.add(address)
            return True
        self.again[most] += 1
        if self.again[most] > most:
            raise FormatError(
                f"{self.tree.path}: over {most} names up to {few_levels(path)} are links to objects with another name"
            )
        return False

    def _member(self, member: Any, path: str, above: tuple[int, ...]) -> None:
        import h5py

        if isinstance(member, h5py.Group):
            self.group(member, path, above)
        elif not isinstance(member, h5py.Dataset):
            self.tree.odd[path] = "a type of elements"
        elif place := self.placed.get(address := _address(member)):
            self._once(address, path, MOST_LINKS)
            self._take(member, path, place.renamed(path))
        elif what := oddity(member):
            self.tree.odd[path] = what
        else:
            self.placed[address] = checked_place(self.source, member, path)
            self._count(member, path)
            self._take(member, path, self.placed[address])

    def _take(self, dataset: Any, path: str, place: Place) -> None:
        self.tree.places[path] = place
        self.tree.tensors[path] = place.tensor(self.source)
        self._attributes(dataset, path)

    def _follow(self, group: Any, name: str, path: str, steps: int = 0) -> Any:
        """Return the target of a link within the file; soft links are followed one part at a time."""
        import h5py

        links, raw = group.id.links, _encoded(name)
        kind = links.get_info(raw).type
        if kind == h5py.h5l.TYPE_HARD:
            return group[name]
        if kind != h5py.h5l.TYPE_SOFT or steps > DEEPEST:
            raise FormatError(f"{self.tree.path}: {path} is a link to outside of the file, which is never followed")
        target = links.get_val(raw).decode(*_ENCODING)
        member = self.root if target.startswith("/") else group
        for part in (part for part in target.split("/") if part not in ("", ".")):
            self.steps += 1
            if self.steps > MOST_STEPS:
                raise FormatError(f"{self.tree.path}: its soft links have over {MOST_STEPS} parts")
            if not isinstance(member, h5py.Group) or not member.id.links.exists(_encoded(part)):
                raise FormatError(f"{self.tree.path}: {path} is a link to {target}, which is not in the file")
            member = self._follow(member, part, path, steps + 1)
        return member

    def _attributes(self, member: Any, path: str) -> None:
        """Store attributes of numbers or strings, and the names of others (references, lists)."""
        keys = list(member.attrs) if has_attributes(member) else []
        plain = {key: is_plain(member.attrs.get_id(key).dtype) for key in keys}
        self.tree.attributes[path] = {text_of(key): self._value(member, key, path) for key in keys if plain[key]}
        self.tree.opaque += [f"{path}@{text_of(key)}" for key in keys if not plain[key]]

    def _value(self, member: Any, key: str, path: str) -> Any:
        """Read a whole attribute, after its size was compared with the file's.

        Raises:
            CorruptCheckpoint: if it declares more bytes than the file has.
        """
        attribute = member.attrs.get_id(key)
        if prod(attribute.shape or ()) * attribute.dtype.itemsize > self.source.size:
            name = f"{path}@{text_of(key)}"
            raise CorruptCheckpoint(f"{self.tree.path}: the attribute {name} is declared larger than the file")
        with bounded(self.source) if attribute.dtype.kind == "O" else nullcontext():
            return member.attrs[key]

    def _count(self, dataset: Any, path: str) -> None:
        """Compare the declared size of all data so far with the file's."""
        if self._once(_address(dataset), path, MOST_LINKS):
            self.stored += dataset.id.get_storage_size()
        if self.stored > self.source.size:
            raise CorruptCheckpoint(
                f"{self.tree.path}: the datasets up to {path} are declared with more bytes than the file has"
            )


def _encoded(name: str) -> bytes:
    """Return the bytes of a name in HDF5."""
    return name.encode(*_ENCODING)


def _address(member: Any) -> int:
    import h5py

    return int(h5py.h5o.get_info(member.id).addr)


class Hdf5Tensors(Tensors):
    """Datasets by name; those without a name are skipped."""

    def __init__(self, tree: Tree, locations: Mapping[str, str], metadata: Mapping[str, str] | None = None) -> None:
        """Store a file's datasets, and each name's path in it."""
        self.tree = tree
        self.locations = locations
        self.metadata = metadata or {}
        named = set(locations.values())
        self._unnamed = tuple(path for path in tree.tensors if path not in named)
        self.left_out = (*self._unnamed, *(f"{path} ({what})" for path, what in tree.odd.items()))

    def __getitem__(self, name: str) -> Tensor:
        return self.tree.tensors[self.locations[name]].renamed(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.locations)

    def __len__(self) -> int:
        return len(self.locations)

    def checked(self) -> Iterator[Checked]:
        """Read every dataset of the file, including skipped ones; HDF5 verifies their checksums, if they have any."""
        for name, path in [*self.locations.items(), *zip(self._unnamed, self._unnamed, strict=True)]:
            yield Checked.of(name, pieces_of(self.tree.tensors[path]))
