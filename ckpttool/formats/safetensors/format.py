"""safetensors: a JSON header and the bytes of the tensors, in one file or in several with an index.

The format: https://github.com/huggingface/safetensors#format. It keeps no checksums: what lies between the rules of its
header, a changed number, nothing can find.
"""

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ckpttool.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.formats.data_file import DataFile
from ckpttool.formats.format import PLAIN, Checked, Tensors, Writing
from ckpttool.formats.safetensors.header import LENGTH, NAMES, Header, is_safetensors, read_header
from ckpttool.formats.safetensors.index import INDEX_SUFFIX, SUFFIX, locate, read_index
from ckpttool.formats.safetensors.writer import write_safetensors
from ckpttool.formats.tensorflow.bundle_data import swapped
from ckpttool.formats.tensorflow.bundle_index import Stored
from ckpttool.formats.truth import require_truth
from ckpttool.tensors import Array, Extent, Tensor, TensorSpec

LFS_POINTER = b"version "
"""What the stand-in of a file that Git LFS has not fetched begins with."""


class SafetensorsTensors(Tensors):
    """The tensors of a checkpoint by name, file after file in the order of their bytes."""

    def __init__(self, path: Path) -> None:
        """Read the headers of a file, or of each file that an index names.

        Raises:
            MissingFile: there is none, or one of several is not there.
            CorruptCheckpoint: a header or the index breaks a rule of the format, or a file is cut off.
            FormatError: a tensor has a dtype that is not read, or the index names what is not beside it.
        """
        self.places: dict[str, tuple[DataFile, TensorSpec, int]] = {}
        found = locate(path)
        if found is None:
            raise MissingFile(f"{path} is missing: no such safetensors file")
        if found.name.endswith(INDEX_SUFFIX):
            self._take_indexed(found)
        else:
            file = DataFile(found)
            header = read_header(file)
            self.metadata = header.metadata
            self._take(file, header)

    def __getitem__(self, name: str) -> Tensor:
        file, spec, offset = self.places[name]
        extent = Extent(file.path, offset, spec.nbytes, None, file.stamp)
        return Tensor(spec, partial(self._read, name), partial(self._pieces, name), extent)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def check(self, name: str) -> int:
        """Read every byte of a tensor, and return how many there are.

        Raises:
            CorruptCheckpoint: a truth value is none, or the file changed.
        """
        return sum(map(len, self._raw(name)))

    def _take(self, file: DataFile, header: Header) -> None:
        self.places.update({name: (file, spec, offset) for name, (spec, offset) in header.places.items()})

    def _take_indexed(self, path: Path) -> None:
        """Take the tensors that an index names; what a file holds beside them is left out, and named."""
        index = read_index(path)
        texts: dict[str, str] = {}
        left_out: list[str] = []
        for name, wanted in index.files.items():
            file = DataFile(path.with_name(name))
            header = read_header(file)
            if missing := sorted(wanted - header.places.keys()):
                raise CorruptCheckpoint(f"{path}: {missing[0]} is said to be in {name}, which does not hold it")
            left_out += [f"{name}: {other}" for other in header.places if other not in wanted]
            self._take(file, Header({key: header.places[key] for key in header.places if key in wanted}, {}))
            texts = header.metadata | texts
        self.metadata, self.left_out = index.metadata | texts, tuple(left_out)

    def _raw(self, name: str) -> Iterator[bytes]:
        """Yield a tensor's bytes; after the last see whether the file is what it was."""
        file, spec, offset = self.places[name]
        for piece in file.stream(name, Stored(0, offset, spec.nbytes, 0)):
            require_truth(spec, piece, file.path)
            yield piece
        file.require_unchanged()

    def _pieces(self, name: str) -> Iterator[memoryview]:
        return map(memoryview, self._raw(name))

    def _read(self, name: str) -> Array:
        import numpy as np

        _, spec, _ = self.places[name]
        raw = np.empty(spec.nbytes, np.uint8)
        at = 0
        for piece in self._raw(name):
            raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        if sys.byteorder == "big":
            raw = swapped(raw, spec.dtype)
        return raw.view(spec.dtype.numpy).reshape(spec.shape)


class Safetensors:
    """The format of Hugging Face's hub."""

    NAME = "safetensors"
    SUFFIXES = (SUFFIX, INDEX_SUFFIX)
    LIMITS = "holds numbers only: no strings, variants, int4, complex128 or quantised ones; keeps no checksums"
    WRITES = True
    METADATA = True
    HOLDS = frozenset(NAMES.values())
    HEEDS = frozenset({"shard_bytes"})

    def recognises(self, path: Path) -> bool:
        """Say whether there is a file with such a header, or an index of some: at the path, beside it, or in it."""
        if path.is_dir():
            return any(path.glob(f"*{SUFFIX}")) or any(path.glob(f"*{INDEX_SUFFIX}"))
        found = locate(path)
        if found is None:
            return False
        with found.open("rb") as file:
            start = file.read(LENGTH + 1)
        return is_safetensors(start) or (found.name.endswith(self.SUFFIXES) and start[:LENGTH] != LFS_POINTER)

    def open(self, path: Path) -> SafetensorsTensors:
        """Read the headers; `SafetensorsTensors` says what is raised."""
        return SafetensorsTensors(path)

    def save(self, tensors: Mapping[str, Tensor], path: Path, overwrite: bool, how: Writing = PLAIN) -> None:
        """Write one file, or several and an index; `safetensors_writer.write_safetensors` says how."""
        write_safetensors(tensors, path, overwrite, how)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Check the rules of the header, that every byte can be read, and truth values; there are no checksums."""
        tensors = self.open(path)
        for name in tensors:
            try:
                yield Checked(name, tensors.check(name))
            except CkptError as error:
                yield Checked(name, 0, str(error))
