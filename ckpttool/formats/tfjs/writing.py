"""Write a model of TensorFlow.js: its weight files, and last the model.json that describes them.

Numbers and texts are in separate groups, since a group with texts must be read whole to find where they end. A weight
is never split between files, though the format allows it: one larger than the limit gets a file of its own.
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
"""The default maximum size of a weight file, which browsers cache; TensorFlow's converter uses the same."""


@dataclass(frozen=True)
class Names:
    """The names of a model's files: for a model.json, those of TensorFlow's converter.

    >>> Names(Path("web/model.json")).shard(1, 0, 2).name, Names(Path("web/net.json")).shard(1, 0, 2).name
    ('group1-shard1of2.bin', 'net-group1-shard1of2.bin')
    """

    document: Path

    @property
    def prefix(self) -> str:
        """The prefix of the weight files' names, so that a folder can contain several models."""
        return "" if self.document.name == MODEL else f"{self.document.name.removesuffix(SUFFIX)}-"

    def shard(self, group: int, number: int, count: int) -> Path:
        """Return the path of one of a group's files; `number` starts at 0, the number in the name at 1."""
        return self.document.with_name(f"{self.prefix}group{group}-shard{number + 1}of{count}.bin")

    def shards(self) -> Iterator[tuple[Path, int, int]]:
        """Yield the existing weight files with such names, each with its group and the number of files in its name."""
        pattern, folder = re.compile(re.escape(self.prefix) + r"group(\d+)-shard\d+of(\d+)\.bin"), self.document.parent
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if match := pattern.fullmatch(path.name):
                yield path, int(match[1]), int(match[2])


class _Group(NamedTuple):
    """A group of weights: the tensors of bytes in each of its files, and the specs of the weights."""

    files: dict[Path, dict[str, Tensor]]
    specs: list[TensorSpec]

    def described(self) -> dict[str, Any]:
        weights = [{"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype.name} for spec in self.specs]
        return {"paths": [path.name for path in self.files], "weights": weights}


def write_model(tensors: Mapping[str, Tensor], document: Mapping[str, Any], path: Path, limit: int | None) -> None:
    """Write tensors, and a model.json with their list and the entries of `document`.

    Raises:
        FormatError: there are more files or texts than the reader's limits.
        CorruptCheckpoint: the written files do not read back as expected.
    """
    groups = _grouped(tensors, path, limit or SHARD_BYTES)
    for group in groups:
        for place, held in group.files.items():
            _write_file(held, place)
    whole = {**document, MANIFEST: [group.described() for group in groups]}
    with replacing(path, partial(_check, groups, tensors)) as file:
        file.write(json.dumps(whole, separators=(",", ":")).encode())


def _grouped(tensors: Mapping[str, Tensor], path: Path, limit: int) -> list[_Group]:
    """Distribute weights over groups and their files: numbers in the first group, texts in the second."""
    texts = {name: tensor for name, tensor in tensors.items() if tensor.dtype is STRING}
    numbers = {name: tensor for name, tensor in tensors.items() if name not in texts}
    held = [(numbers, split_by_size(numbers, limit)), (texts, [_coded(path, texts)])]
    if len(held[0][1]) >= MOST_FILES:
        raise FormatError(f"{path} would have {len(held[0][1])} files of weights, {MOST_FILES} are read: `shard_bytes`")
    return [_placed(files, of, path, group) for group, (of, files) in enumerate(held, 1) if of]


def _placed(files: list[dict[str, Tensor]], tensors: Mapping[str, Tensor], path: Path, group: int) -> _Group:
    """Name a group's files so that no name is in use; files beyond those that are needed are empty."""
    names = Names(path)
    count = reserved(path, partial(_counts, group), len(files), lambda count: names.shard(group, 0, count))
    held = {names.shard(group, n, count): files[n] if n < len(files) else {} for n in range(count)}
    return _Group(held, [TensorSpec(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()])


def _counts(group: int, path: Path) -> Iterator[int]:
    """Yield the numbers of files in the names of a group's existing files."""
    yield from (count for _, number, count in Names(path).shards() if number == group)


def _coded(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return texts as byte tensors, each text preceded by its length.

    Raises:
        FormatError: they exceed the reader's limits.
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
    """Write a file of weights, read it back, and rename it to its final name."""
    with writing(path) as (temporary, file):
        with Copier(file, temporary) as copier:
            for name, tensor in tensors.items():
                copier.add(tensor.renamed(name))
            copier.finish()
        finish(file)
        temporary.replace(path)
        sync_names(path)


def _check(groups: list[_Group], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Check that a written model.json lists the tensors, and that its files have the expected names and sizes."""
    read = list(groups_of(path, read_document(path)))
    found = {weight.spec.name: weight.spec for group in read for weight in group.weights}
    require_same_tensors(path, found, {name: tensor.spec for name, tensor in tensors.items()})
    for group, wanted in zip(read, groups, strict=True):
        nbytes = sum(tensor.nbytes for held in wanted.files.values() for tensor in held.values())
        if [file.name for file in group.files] != [file.name for file in wanted.files]:
            raise CorruptCheckpoint(f"{path}: the files of weights that it names are others than were written")
        if sum(file.stat().st_size for file in group.files) != nbytes:
            raise CorruptCheckpoint(f"{path}: its files do not have the {nbytes} bytes that were written")
