"""torch.distributed.checkpoint folders: an index, and files with parts, each of which is a `torch.save` archive."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import is_file, matching
from ckpttool.core.tensors import PIECE, Array, Tensor, TensorSpec
from ckpttool.formats.format import Checked, Format, Tensors, pieces_of
from ckpttool.formats.pytorch import tree as torch_tree
from ckpttool.formats.pytorch.archive import DISTRIBUTED, INDEX, TorchArchive, interpreted
from ckpttool.formats.pytorch.distributed_index import Chunk, Described, read_index
from ckpttool.formats.pytorch.makers import DTYPES, storage
from ckpttool.formats.pytorch.records import View
from ckpttool.formats.reading.data_file import CheckpointFile, gathered, require_truth, swapped
from ckpttool.formats.reading.raw_tensors import ClosedFile
from ckpttool.formats.reading.window import Window


class DistributedTensors(Tensors):
    """The tensors of a folder by their names in its state dict, assembled from their parts when they are read."""

    def __init__(self, folder: Path) -> None:
        """Read the index, and check that the declared parts fit the files.

        Raises:
            FormatError: the index references code that could run.
            MissingFile: a file with parts does not exist.
            CorruptCheckpoint: the index is damaged, or a part ends after its file.
        """
        self.folder, index = folder, folder / INDEX
        self._described, nested = read_index(index)
        try:
            content = torch_tree.find(nested, {})
        except ValueError as error:
            raise CorruptCheckpoint(f"{index}: {error}") from error
        self._flat = {name: view.storage.key for name, view in content.tensors.items() if isinstance(view, View)}
        self.metadata, self.left_out = content.metadata, content.left_out
        self._require_room()

    def __getitem__(self, name: str) -> Tensor:
        return self._tensor(name, self._flat[name])

    def _tensor(self, name: str, flat: str) -> Tensor:
        described = self._described[flat]
        spec = TensorSpec(name, described.shape, described.dtype)
        in_rows = all(chunk.sizes[1:] == described.shape[1:] for chunk in described.chunks)
        pieces = partial(self._rows, spec, described) if in_rows else None
        return Tensor(spec, partial(self._read, spec, described), pieces)

    def __iter__(self) -> Iterator[str]:
        return iter(self._flat)

    def __len__(self) -> int:
        return len(self._flat)

    def checked(self) -> Iterator[Checked]:
        """Read every part and verify its checksum, first of the tensors, then of those that are skipped."""
        yield from super().checked()
        for name in sorted(self._described.keys() - set(self._flat.values())):
            yield Checked.of(name, pieces_of(self._tensor(name, name)))

    def _require_room(self) -> None:
        """Check that every part is within its file, and that the files are not smaller than the sum of their parts."""
        chunks = [(each, chunk) for each in self._described.values() for chunk in each.chunks]
        names = sorted({chunk.file for _, chunk in chunks})
        self._files = {name: ClosedFile.of(CheckpointFile(self.folder / name)) for name in names}
        files = {name: file.size for name, file in self._files.items()}
        for described, chunk in chunks:
            size = math.prod(chunk.sizes) * described.dtype.itemsize
            if chunk.start + chunk.length > files[chunk.file] or chunk.length < size:
                raise CorruptCheckpoint(
                    f"{self.folder / chunk.file}: a part of {size} bytes is declared within the {chunk.length} at "
                    f"{chunk.start}, the "
                    f"file has {files[chunk.file]}: it is truncated, or the index is damaged"
                )
        if (said := sum(chunk.length for _, chunk in chunks)) > (there := sum(files.values())):
            raise CorruptCheckpoint(f"{self.folder}: its parts are said to have {said} bytes, its files have {there}")

    def _rows(self, spec: TensorSpec, described: Described) -> Iterator[memoryview]:
        """Yield the bytes of a tensor that is divided only along its first axis, part by part."""
        for chunk in described.chunks:
            flat = memoryview(self._part(spec, chunk).reshape(-1).view("u1"))  # type: ignore[arg-type]
            yield from (flat[at : at + PIECE] for at in range(0, len(flat), PIECE))

    def _read(self, spec: TensorSpec, described: Described) -> Array:
        import numpy as np

        whole = np.empty(spec.shape, spec.dtype.numpy)
        for chunk in described.chunks:
            box = tuple(slice(at, at + size) for at, size in zip(chunk.offsets, chunk.sizes, strict=True))
            whole[box] = self._part(spec, chunk)
        return whole

    def _part(self, spec: TensorSpec, chunk: Chunk) -> Array:
        """Return a part of a tensor in C order, after verifying its checksum."""
        path = self.folder / chunk.file
        window = Window(path, chunk.start, chunk.length)
        window.require_unchanged(self._files[chunk.file].stamp)
        archive = TorchArchive(path, window)
        view = interpreted(path, archive.record("data.pkl"), storage)
        if not isinstance(view, View) or (view.shape, view.dtype) != (chunk.sizes, spec.dtype):
            raise CorruptCheckpoint(
                f"{path}: the part at byte {chunk.start} does not match what the index declares of {spec.name}"
            )
        archive.require(view.storage)
        if math.prod(view.shape) * view.dtype.itemsize > view.storage.nbytes:
            raise FormatError(f"{path}: a part of {spec.name} repeats the bytes of its storage")
        raw = gathered(archive.storage(view.storage, spec.name), view.storage.nbytes)
        raw = raw[view.offset * view.dtype.itemsize :][: view.span * view.dtype.itemsize]
        raw = swapped(raw, view.dtype) if archive.big else raw
        require_truth(spec, raw, path)
        return view.laid_out(raw)


class Distributed(Format):
    """The format of `torch.distributed.checkpoint`."""

    NAME = "torch-distributed"
    FRAMEWORK = "torch"
    CHECKSUMS = False  # values have them, but not the file with their names and places
    WHOLE_FOLDER = True
    LIMITS = "is read only: `to` safetensors makes one file of such a folder"
    WRITES = False
    INSTEAD = "folders of torch.distributed.checkpoint are read only; `to` safetensors writes what PyTorch loads too"
    HOLDS = frozenset(dtype.name for dtype in DTYPES.values())

    def recognises(self, path: Path) -> bool:
        """Return whether a path is such a folder, its index, or one of its files with parts."""
        return folder_of(path) is not None

    def open(self, path: Path) -> DistributedTensors:
        """Read the index; raises the same errors as `DistributedTensors`."""
        return DistributedTensors(folder_of(path) or path)


def folder_of(path: Path) -> Path | None:
    """Return the folder with an index that a path refers to, or None."""
    if path.is_dir():
        folder = path
    elif path.name == INDEX or path.suffix == DISTRIBUTED:
        folder = path.parent
    else:
        return None
    return folder if is_file(folder / INDEX) and matching(folder, f"*{DISTRIBUTED}") else None
