"""Read Darknet's `.weights` with the `.cfg` beside it, without Darknet: YOLO and its contemporaries.

A file contains a version, the number of images seen, and the float32 values of all layers; the `.cfg` gives the layers.
"""

import re
import struct
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CorruptCheckpoint, MissingFile
from ckpttool.core.tensors import Array, TensorSpec
from ckpttool.formats.darknet.layers import StoredArray, read_network
from ckpttool.formats.format import Format
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.raw_tensors import RawTensors, TensorLocation

SUFFIX, NETWORK_SUFFIX = ".weights", ".cfg"
STAGE = re.compile(r"_(final|last|best|\d+)\Z")
"""Suffixes that Darknet appends to the name of a network during training."""
FLOAT32 = BY_NAME["float32"]
LATEST = 1000
"""Version numbers are below this; files with transposed matrices have it added to theirs."""


class Header(NamedTuple):
    """The file header, and its size in bytes."""

    version: tuple[int, int, int]
    seen: int
    size: int

    @property
    def transposed(self) -> bool:
        """Whether matrices have the input axis first."""
        return max(self.version[:2]) > LATEST


class DarknetTensors(RawTensors):
    """The arrays of a network by layer: `convolutional_0/weight`, `convolutional_0/bn/running_mean`."""

    def __init__(self, path: Path) -> None:
        """Read the header and the `.cfg`, and compare the arrays with the size of the file.

        Raises:
            MissingFile: there is no `.cfg`.
            CorruptCheckpoint: either file is damaged, or the size does not match the layers.
            FormatError: a layer type is not supported.
        """
        super().__init__()
        file = CheckpointFile(path)
        header = _header(file)
        network = network_of(path)
        self.metadata = {"version": ".".join(map(str, header.version)), "seen": str(header.seen)}
        at = header.size
        for array in read_network(network, header.transposed):
            spec = TensorSpec(array.name, array.shape, FLOAT32)
            if at + spec.nbytes > file.size:
                raise CorruptCheckpoint(
                    f"{path}: {array.name} {list(array.shape)} would end at byte {at + spec.nbytes}, the file has "
                    f"{file.size}: it is truncated, or belongs to another network than {network.name}"
                )
            self.locations[array.name] = TensorLocation(file, spec, at)
            if array.transposed:
                self.coded[array.name] = partial(_turned, self.locations[array.name], array)
            at += spec.nbytes
        if at != file.size:
            raise CorruptCheckpoint(
                f"{path}: {counted(file.size - at, 'byte')} at its end belong to no layer of {network.name}: check "
                "that both "
                "are of the same network"
            )


class Darknet(Format):
    """The format of Darknet."""

    NAME = "darknet"
    CHECKSUMS = False
    FRAMEWORK = "darknet"
    LIMITS = "is read only, a .weights with its .cfg beside it: save safetensors, or a bundle; keeps no checksums"
    WRITES = False
    INSTEAD = "weights of Darknet are read only; `to` safetensors keeps the same tensors"
    HOLDS = frozenset({FLOAT32.name})

    def recognises(self, path: Path) -> bool:
        """Return whether a file has the suffix and is not a Git LFS pointer; the format has no magic number."""
        return path.suffix == SUFFIX and path.is_file() and not CheckpointFile(path).is_lfs_pointer

    def open(self, path: Path) -> DarknetTensors:
        """Return the arrays; for errors see `DarknetTensors`."""
        return DarknetTensors(path)

    def stem(self, name: str) -> str:
        """Return the name without its suffix."""
        return name.removesuffix(SUFFIX)

    def files_beside(self, path: Path) -> list[Path]:
        """Return the paths where the `.cfg` may be."""
        return _places(path) if path.suffix == SUFFIX else []


def network_of(path: Path) -> Path:
    """Return the `.cfg` that describes a `.weights`: the one with its name, or else the only one in its folder.

    Raises:
        MissingFile: there is none, or there are several candidates.
    """
    for place in _places(path):
        if place.is_file():
            return place
    others = sorted(path.parent.glob(f"*{NETWORK_SUFFIX}"))
    if len(others) == 1:
        return others[0]
    there = f"; {path.parent} has {len(others)} others" if others else ""
    raise MissingFile(f"{_places(path)[0]} is missing: {path.name} needs the network's .cfg beside it{there}")


def _places(path: Path) -> list[Path]:
    names = (path.stem, STAGE.sub("", path.stem))
    return [path.with_name(name + NETWORK_SUFFIX) for name in dict.fromkeys(names)]


def _header(file: CheckpointFile) -> Header:
    """Return the header of a file; the number of images seen has 8 bytes since version 0.2, 4 before."""
    if file.size < 16:
        raise CorruptCheckpoint(
            f"{file.path}: it has {counted(file.size, 'byte')}, a header has 16 or 20: it is truncated"
        )
    version = struct.unpack("<3i", file.piece(12, 0))
    if min(version) < 0 or max(version) > LATEST + LATEST:
        raise CorruptCheckpoint(
            f"{file.path}: it is not a .weights file of Darknet: its version would be {list(version)}"
        )
    long = version[0] * 10 + version[1] >= 2 and file.size >= 20
    (seen,) = struct.unpack("<Q" if long else "<I", file.piece(8 if long else 4, 12))
    return Header(version, seen, 20 if long else 16)


def _turned(place: TensorLocation, array: StoredArray) -> Array:
    """Return an array whose matrix is stored transposed."""
    import numpy as np

    return np.ascontiguousarray(place.read().reshape(array.transposed).T).reshape(array.shape)
