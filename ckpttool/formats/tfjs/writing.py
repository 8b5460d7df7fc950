"""Writing a model of TensorFlow.js: the files of its weights, and last the model.json that says what is in them.

The weights lie in groups, of numbers and of texts, whose lengths are told by reading them alone. A weight is never
divided between files, as it may be: one that is larger than the limit has a file to itself.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.tfjs.manifest import (
    LENGTH,
    MANIFEST,
    MODEL,
    MOST_FILES,
    MOST_TEXTS,
    SUFFIX,
    TEXTS_LIMIT,
    groups_of,
    read_document,
)
from ckpttool.formats.wire.elements import as_bytes
from ckpttool.formats.writing.copying import Copier, split_by_size
from ckpttool.formats.writing.files import finish, replacing, sync_names, writing
from ckpttool.formats.writing.read_back import require_same_tensors
from ckpttool.formats.writing.staging import reserved

SHARD_BYTES = 4 << 20
"""The most that a file of weights has where nobody says another size: what browsers keep in their caches."""


@dataclass(frozen=True)
class Names:
    """The names that the files of a model have: those of TensorFlow's converter beside a model.json.

    >>> Names(Path("web/model.json")).shard(1, 0, 2).name, Names(Path("web/net.json")).shard(1, 0, 2).name
    ('group1-shard1of2.bin', 'net-group1-shard1of2.bin')
    """

    document: Path

    @property
    def prefix(self) -> str:
        """What the names of the weights' files begin with: two models may lie in one folder."""
        return "" if self.document.name == MODEL else f"{self.document.name.removesuffix(SUFFIX)}-"

    def shard(self, group: int, number: int, count: int) -> Path:
        """Return the name of one of a group's files; in names they are counted from 1."""
        return self.document.with_name(f"{self.prefix}group{group}-shard{number + 1}of{count}.bin")

    def shards(self) -> Iterator[tuple[Path, int, int]]:
        """Yield each file of weights that is there under such a name, with its group and the count in its name."""
        pattern, folder = re.compile(re.escape(self.prefix) + r"group(\d+)-shard\d+of(\d+)\.bin"), self.document.parent
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if match := pattern.fullmatch(path.name):
                yield path, int(match[1]), int(match[2])


class _Group(NamedTuple):
    """What a group of weights holds: files of bytes, and what the weights are."""

    files: dict[Path, dict[str, Tensor]]
    specs: list[TensorSpec]

    def described(self) -> dict[str, Any]:
        weights = [{"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype.name} for spec in self.specs]
        return {"paths": [path.name for path in self.files], "weights": weights}


def write_model(tensors: Mapping[str, Tensor], document: Mapping[str, Any], path: Path, limit: int | None) -> None:
    """Write tensors, which the format holds, and a model.json that has the entries of a `document` beside them.

    Raises:
        FormatError: there are more files or texts than are read.
        CorruptCheckpoint: what was written does not read back.
    """
    groups = _grouped(tensors, path, limit or SHARD_BYTES)
    for group in groups:
        for place, held in group.files.items():
            _write_file(held, place)
    whole = {**document, MANIFEST: [group.described() for group in groups]}
    with replacing(path, partial(_check, groups, tensors)) as file:
        file.write(json.dumps(whole, separators=(",", ":")).encode())


def _grouped(tensors: Mapping[str, Tensor], path: Path, limit: int) -> list[_Group]:
    """Put weights into the files of groups: numbers into the first, texts into another."""
    texts = {name: tensor for name, tensor in tensors.items() if tensor.dtype is STRING}
    numbers = {name: tensor for name, tensor in tensors.items() if name not in texts}
    held = [(numbers, split_by_size(numbers, limit)), (texts, [_coded(path, texts)])]
    if len(held[0][1]) >= MOST_FILES:
        raise FormatError(f"{path} would have {len(held[0][1])} files of weights, {MOST_FILES} are read: `shard_bytes`")
    return [_placed(files, of, path, group) for group, (of, files) in enumerate(held, 1) if of]


def _placed(files: list[dict[str, Tensor]], tensors: Mapping[str, Tensor], path: Path, group: int) -> _Group:
    """Give a group's files names that no older file has: those beyond what is needed hold nothing."""
    names = Names(path)
    count = reserved(path, partial(_counts, group), len(files), lambda count: names.shard(group, 0, count))
    held = {names.shard(group, n, count): files[n] if n < len(files) else {} for n in range(count)}
    return _Group(held, [TensorSpec(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()])


def _counts(group: int, path: Path) -> Iterator[int]:
    """Yield the counts of files that are in the names of a group's files."""
    yield from (count for _, number, count in Names(path).shards() if number == group)


def _coded(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the bytes of texts, each behind its length.

    Raises:
        FormatError: there are more of them than are read.
    """
    import numpy as np

    coded: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        texts = as_bytes(tensor.read().ravel().tolist(), name)
        raw = b"".join(len(text).to_bytes(LENGTH, "little") + text for text in texts)
        coded[name] = Tensor.of(name, np.frombuffer(raw, np.uint8))
    count, nbytes = (
        sum(sizes) for sizes in ((t.spec.elements for t in tensors.values()), (t.nbytes for t in coded.values()))
    )
    if count > MOST_TEXTS or nbytes > TEXTS_LIMIT:
        raise FormatError(f"{path} would have {count} texts of {nbytes} bytes, {MOST_TEXTS} of {TEXTS_LIMIT} are read")
    return coded


def _write_file(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a file of weights, one after the other, read it back, and give it its name."""
    with writing(path) as (temporary, file):
        with Copier(file, temporary) as copier:
            for name, tensor in tensors.items():
                copier.add(tensor.renamed(name))
            copier.finish()
        finish(file)
        temporary.replace(path)
        sync_names(path)


def _check(groups: list[_Group], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Check that a model.json reads back as what was to be written, in files of as many bytes as were given."""
    read = list(groups_of(path, read_document(path)))
    found = {weight.spec.name: weight.spec for group in read for weight in group.weights}
    require_same_tensors(path, found, {name: tensor.spec for name, tensor in tensors.items()})
    for group, wanted in zip(read, groups, strict=True):
        nbytes = sum(tensor.nbytes for held in wanted.files.values() for tensor in held.values())
        if [file.name for file in group.files] != [file.name for file in wanted.files]:
            raise CorruptCheckpoint(f"{path}: the files of weights that it names are others than were written")
        if sum(file.stat().st_size for file in group.files) != nbytes:
            raise CorruptCheckpoint(f"{path}: its files do not have the {nbytes} bytes that were written")
