"""Writing Keras 3 files: a `.keras` with a config and weights, or only the weights."""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import PIECE, Tensor
from ckpttool.formats.hdf5.tree import read_tree
from ckpttool.formats.hdf5.writer import compare, write_tree
from ckpttool.formats.keras.archive import WEIGHTS, read_archive
from ckpttool.formats.keras.files import CONFIG
from ckpttool.formats.keras.names import HOLDER
from ckpttool.formats.keras.network import METADATA
from ckpttool.formats.reading.archive import member_bytes, members
from ckpttool.formats.writing.files import replacing, writing

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The date of a zip's members; the file has its own date."""


@dataclass(frozen=True)
class KerasWeights:
    """The content of a weights file: tensors at their places, and the attributes of groups."""

    tensors: Mapping[str, Tensor]
    attributes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def numbered(cls, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> "KerasWeights":
        """Return those of Keras 3 (`layers/dense/vars/0`); groups of layers' own weights have the layers' names."""
        named = {"/".join(filter(None, [group, HOLDER])): {"name": name} for group, name in names.items()}
        return cls(tensors, named)


def write_weights(weights: KerasWeights, path: Path) -> None:
    """Write a weights file, and read it back.

    Raises:
        CorruptCheckpoint: it differs from what was written.
    """
    sums: dict[str, int] = {}

    def check(written: Path) -> None:
        compare(read_tree(written), weights.tensors, sums)

    with replacing(path, check) as file:
        sums.update(write_tree(file, weights.tensors, weights.attributes))


def write_archive(config: Any, metadata: Any, weights: KerasWeights, path: Path) -> None:
    """Write a `.keras`, and read it back.

    Raises:
        CorruptCheckpoint: it differs from what was written.
    """
    texts = {METADATA: json.dumps(metadata).encode(), CONFIG: json.dumps(config).encode()}
    with writing(path) as (_, unpacked):
        sums = write_tree(unpacked, weights.tensors, weights.attributes)
        unpacked.seek(0)
        with replacing(path, partial(_check, texts, weights, sums)) as file:
            _write_zip(file, {**{name: [text] for name, text in texts.items()}, WEIGHTS: _pieces(unpacked)})


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, PIECE), b"")


def _write_zip(file: BinaryIO, contents: Mapping[str, Iterable[bytes]]) -> None:
    """Write uncompressed members, so that weights can be read at their offsets."""
    with zipfile.ZipFile(file, "w") as out:
        for name, pieces in contents.items():
            info = zipfile.ZipInfo(name, EARLIEST)
            info.external_attr = 0o600 << 16
            with out.open(info, "w", force_zip64=True) as member:
                for piece in pieces:
                    member.write(piece)


def _check(texts: Mapping[str, bytes], weights: KerasWeights, sums: Mapping[str, int], path: Path) -> None:
    found = members(path)
    for name, text in texts.items():
        if b"".join(member_bytes(path, found[name], name)) != text:
            raise CorruptCheckpoint(f"{path}: {name} reads back differently than it was written")
    for _ in member_bytes(path, found[WEIGHTS], WEIGHTS):
        pass  # reading verifies the checksum
    compare(read_archive(path), weights.tensors, sums)
