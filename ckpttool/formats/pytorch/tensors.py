"""The tensors of a file of PyTorch: views of storages, read without PyTorch and without running its pickle."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.formats.format import Checked, Tensors
from ckpttool.formats.pytorch import tree as torch_tree
from ckpttool.formats.pytorch.archive import TorchArchive
from ckpttool.formats.reading.archive import RATIO_LIMIT, UNPACKED_LIMIT
from ckpttool.formats.reading.data_file import require_truth, swapped

REPEATED_LIMIT = 64 << 20
"""Bytes that a tensor may have beyond those of its storage: it repeats them (`Tensor.expand`)."""


class TorchTensors(Tensors):
    """The tensors of a file by the names of its state dict; `metadata` has numbers, texts and ties (alias: name)."""

    def __init__(self, path: Path) -> None:
        """Interpret the pickle, and hold what it says against the members of the zip file.

        Raises:
            FormatError: it needs more than data, is in an older format, or has a tensor that is not read.
            CorruptCheckpoint: it is damaged.
        """
        self.archive = TorchArchive(path)
        value = self.archive.value()
        try:
            found = torch_tree.find(value)
        except FormatError as error:
            raise FormatError(f"{path}: {error}") from error
        except ValueError as error:
            raise CorruptCheckpoint(f"{path}: {error}") from error
        self.views, self.metadata, self.left_out = found.tensors, found.metadata, found.left_out
        self._checked: set[str] = set()
        self._require_bytes()

    def __getitem__(self, name: str) -> Tensor:
        view = self.views[name]
        # The system would move the bytes without comparing the zip's checksum, so no extent is told.
        pieces = partial(self._pieces, name) if view.whole and not self.archive.big else None
        return Tensor(TensorSpec(name, view.shape, view.dtype), partial(self._read, name), pieces)

    def __iter__(self) -> Iterator[str]:
        return iter(self.views)

    def __len__(self) -> int:
        return len(self.views)

    def _require_bytes(self) -> None:
        """Check storages, each of one dtype, and that tensors do not repeat their bytes to seem much larger."""
        kinds: dict[str, object] = {}
        total = 0
        for name, view in self.views.items():
            self.archive.require(view.storage)
            if kinds.setdefault(view.storage.key, view.storage.dtype) is not view.storage.dtype:
                raise CorruptCheckpoint(f"{self.archive.path}: storage {view.storage.key} is said to be of two dtypes")
            nbytes = self[name].nbytes
            total += nbytes
            if nbytes > view.storage.nbytes + REPEATED_LIMIT:
                raise FormatError(f"{self.archive.path}: {name} repeats {view.storage.nbytes} bytes to {nbytes}")
        if total > max(UNPACKED_LIMIT, RATIO_LIMIT * self.archive.file.size):
            raise FormatError(f"{self.archive.path}: its tensors repeat {self.archive.file.size} bytes to {total}")

    def _raw(self, name: str) -> Iterator[bytes]:
        """Yield the bytes from a tensor's first element to its last, of a storage whose checksum is right."""
        view = self.views[name]
        size, offset = view.span * view.dtype.itemsize, view.offset * view.dtype.itemsize
        if size == view.storage.nbytes:
            yield from self.archive.stream(f"data/{view.storage.key}", name)
            return
        self.check(name)
        yield from self.archive.part(view.storage, name, offset, size)

    def check(self, name: str) -> None:
        """Compare the checksum of a tensor's storage, once.

        Raises:
            CorruptCheckpoint: it is damaged.
        """
        key = self.views[name].storage.key
        if key not in self._checked:
            for _ in self.archive.stream(f"data/{key}", name):
                pass
            self._checked.add(key)

    def checked(self) -> Iterator[Checked]:
        """Read every tensor's storage and compare its checksum, then those of what was left out."""
        for name in self:
            yield _check(name, self[name].pieces())
        for member in self._others():
            checked = _check(member, self.archive.stream(member, member))
            if checked.problem or member.startswith("data/"):
                yield checked

    def _others(self) -> list[str]:
        """Return the members that hold no tensor's bytes: what was left out, and what the file says of itself."""
        held = {f"data/{view.storage.key}" for view in self.views.values()}
        return [member for member in self.archive.members if member not in held]

    def _pieces(self, name: str) -> Iterator[memoryview]:
        spec = self[name].spec
        for piece in self._raw(name):
            require_truth(spec, piece, self.archive.path)
            yield memoryview(piece)

    def _read(self, name: str) -> Array:
        import numpy as np

        view = self.views[name]
        raw = np.empty(view.span * view.dtype.itemsize, np.uint8)
        at = 0
        for piece in self._raw(name):
            raw[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
        raw = swapped(raw, view.dtype) if self.archive.big else raw
        require_truth(self[name].spec, raw, self.archive.path)
        strides = [stride * view.dtype.itemsize for stride in view.strides]
        flat = raw.view(view.dtype.numpy)
        if view.whole:
            return flat.reshape(view.shape)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, view.shape, strides))


def _check(name: str, pieces: Iterator[bytes] | Iterator[memoryview]) -> Checked:
    try:
        return Checked(name, sum(map(len, pieces)))
    except CkptError as error:
        return Checked(name, 0, str(error))
