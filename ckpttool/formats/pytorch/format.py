"""PyTorch's `.pt`, `.pth` and `.bin`: tensors are views of storages, read without PyTorch and without running a pickle.

A checkpoint is one file, or several with an index (`pytorch_model.bin.index.json` with a `weight_map`, which
Transformers writes); an index cannot refer to files outside of its folder.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import matching
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.formats.format import Checked, Format, Tensors
from ckpttool.formats.pytorch import tree as torch_tree
from ckpttool.formats.pytorch.archive import TorchArchive, is_archive, is_distributed, refuse_distributed
from ckpttool.formats.pytorch.legacy import OldFile, is_old
from ckpttool.formats.pytorch.makers import DTYPES
from ckpttool.formats.pytorch.numpy_arrays import NumpyArray
from ckpttool.formats.pytorch.records import View
from ckpttool.formats.reading.data_file import gathered, require_truth, swapped
from ckpttool.formats.reading.limits import RATIO_LIMIT, UNPACKED_LIMIT
from ckpttool.formats.safetensors.index import file_or_index, read_index, single_in

REPEATED_LIMIT = 64 << 20
"""Maximum number of bytes of a tensor beyond those of its storage, which it repeats (`Tensor.expand`)."""
SUFFIX, INDEX_SUFFIX = ".bin", ".bin.index.json"
SINGLE = "*model.bin"
"""The names of weights in one file: pytorch_model.bin, adapter_model.bin; training_args.bin holds none."""


class TorchTensors(Tensors):
    """The tensors of a file by the names of its state dict; `metadata` has numbers, texts and ties (alias: name)."""

    def __init__(self, path: Path) -> None:
        """Interpret the pickle, and check it against the members of the zip file.

        Raises:
            FormatError: it refers to a function that could act where PyTorch loads it, or has unsupported members.
            CorruptCheckpoint: it is damaged.
        """
        self.archive = OldFile(path) if is_old(path) else TorchArchive(path)
        value, classes = self.archive.value(), self.archive.classes()
        try:
            content = torch_tree.find(value, classes)
        except ValueError as error:
            raise CorruptCheckpoint(f"{path}: {error}") from error
        self._names = list(content.tensors)
        self.views = {name: leaf for name, leaf in content.tensors.items() if isinstance(leaf, View)}
        self._arrays = {name: leaf for name, leaf in content.tensors.items() if isinstance(leaf, NumpyArray)}
        self.metadata, self.left_out = content.metadata, content.left_out
        self._checked: set[str] = set()
        self._require_bytes()

    def __getitem__(self, name: str) -> Tensor:
        if array := self._arrays.get(name):
            assert array.dtype is not None
            return Tensor(TensorSpec(name, array.shape, array.dtype), array.read)
        view = self.views[name]
        # The system would move the bytes without comparing the zip's checksum, so it gets no extent.
        pieces = partial(self._pieces, name) if view.whole and not self.archive.big else None
        spec = TensorSpec(name, view.shape, view.dtype)
        return Tensor(spec, partial(self._read, name), pieces, concurrent=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _require_bytes(self) -> None:
        """Check that each storage has one dtype, and that tensors do not repeat the bytes of storages too often."""
        kinds: dict[str, object] = {}
        total = 0
        for name, view in self.views.items():
            self.archive.require(view.storage)
            if kinds.setdefault(view.storage.key, view.storage.dtype) is not view.storage.dtype:
                raise CorruptCheckpoint(f"{self.archive.path}: storage {view.storage.key} is declared with two dtypes")
            nbytes = self[name].nbytes
            total += nbytes
            if nbytes > view.storage.nbytes + REPEATED_LIMIT:
                raise FormatError(f"{self.archive.path}: {name} repeats {view.storage.nbytes} bytes to {nbytes}")
        if total > max(UNPACKED_LIMIT, RATIO_LIMIT * self.archive.file.size):
            raise FormatError(f"{self.archive.path}: its tensors repeat {self.archive.file.size} bytes to {total}")

    def _raw(self, name: str) -> Iterator[bytes]:
        """Yield the bytes from a tensor's first element to its last, after the checksum of the storage is verified."""
        view = self.views[name]
        size, offset = view.span * view.dtype.itemsize, view.offset * view.dtype.itemsize
        if size == view.storage.nbytes:
            yield from self.archive.storage(view.storage, name)
            return
        self.check(name)
        yield from self.archive.part(view.storage, name, offset, size)

    def check(self, name: str) -> None:
        """Verify the checksum of a tensor's storage, once.

        Raises:
            CorruptCheckpoint: it is damaged.
        """
        storage = self.views[name].storage
        if storage.key not in self._checked:
            for _ in self.archive.storage(storage, name):
                pass
            self._checked.add(storage.key)

    def checked(self) -> Iterator[Checked]:
        """Read every tensor's storage and verify its checksum, then the members without a tensor's bytes."""
        for name in self:
            yield Checked.of(name, self[name].pieces())
        yield from self.archive.rest(view.storage for view in self.views.values())

    def _pieces(self, name: str) -> Iterator[memoryview]:
        spec = self[name].spec
        for piece in self._raw(name):
            require_truth(spec, piece, self.archive.path)
            yield memoryview(piece)

    def _read(self, name: str) -> Array:
        view = self.views[name]
        raw = gathered(self._raw(name), view.span * view.dtype.itemsize)
        raw = swapped(raw, view.dtype) if self.archive.big else raw
        require_truth(self[name].spec, raw, self.archive.path)
        return raw.view(view.dtype.numpy).reshape(view.shape) if view.whole else view.laid_out(raw)


class ShardedTorch(Tensors):
    """The tensors of all files of an index, file by file."""

    def __init__(self, path: Path) -> None:
        """Open each file of an index.

        Raises:
            MissingFile: a file is missing.
            CorruptCheckpoint: the index is damaged, or a file lacks a tensor that the index declares in it.
            FormatError: the index refers to a file outside of its folder; or as by `TorchTensors`.
        """
        index = read_index(path, SUFFIX)
        self._files: list[TorchTensors] = []
        self._owners: dict[str, TorchTensors] = {}
        texts, left_out = dict(index.metadata), []
        for name, wanted in index.files.items():
            file = TorchTensors(path.with_name(name))
            if missing := sorted(wanted - file.keys()):
                raise CorruptCheckpoint(
                    f"{path}: {missing[0]} should be in {name} according to the index, which does not contain it"
                )
            left_out += [f"{name}: {other}" for other in (*(file.keys() - wanted), *file.left_out)]
            self._files.append(file)
            self._owners |= {key: file for key in file if key in wanted}
            texts = {**file.metadata, **texts}
        self.metadata, self.left_out = texts, tuple(left_out)

    def __getitem__(self, name: str) -> Tensor:
        return self._owners[name][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)

    def checked(self) -> Iterator[Checked]:
        """Check every file."""
        for file in self._files:
            yield from file.checked()


class PyTorch(Format):
    """The format of `torch.save`."""

    NAME = "torch"
    FRAMEWORK = "torch"
    LIMITS = "is read only: save safetensors, which PyTorch users load with `safetensors.torch.load_file`"
    WRITES = False
    INSTEAD = "files of torch.save are read only; `to` safetensors writes what PyTorch loads too"
    HOLDS = frozenset(dtype.name for dtype in DTYPES.values())

    def recognises(self, path: Path) -> bool:
        """Return whether the path is a file of `torch.save`, new or old, an index of some, or a folder with either."""
        if path.is_dir():
            return bool(matching(path, f"*{INDEX_SUFFIX}") or matching(path, SINGLE)) or is_distributed(path)
        file_or_index = locate(path)
        return file_or_index is not None and (
            file_or_index.name.endswith(INDEX_SUFFIX) or is_archive(file_or_index) or is_old(file_or_index)
        )

    def open(self, path: Path) -> TorchTensors | ShardedTorch:
        """List the tensors; raises as `TorchTensors` and `ShardedTorch` do, too.

        Raises:
            FormatError: it is a folder of torch.distributed.checkpoint.
        """
        refuse_distributed(path)
        file_or_index = locate(path) or path
        return ShardedTorch(file_or_index) if file_or_index.name.endswith(INDEX_SUFFIX) else TorchTensors(file_or_index)

    def has_checksums(self, path: Path) -> bool:
        """Return whether the file is a zip: files of PyTorch before 1.6 have none."""
        return not is_old(locate(path) or path)


def locate(path: Path) -> Path | None:
    """Return the file or the index that a path refers to: itself, an index beside it, or the one in a folder.

    Raises:
        FormatError: the folder contains several.
    """
    if path.is_dir():
        return single_in(path, (f"*{INDEX_SUFFIX}", SINGLE), "checkpoints of PyTorch")
    return file_or_index(path, Path(f"{path}.index.json"), SUFFIX)
