"""The arrays of a store as tensors, whose chunks are read on demand and checked."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import PIECE, Array, Tensor, TensorSpec
from ckpttool.formats.format import Tensors
from ckpttool.formats.reading.archive import RATIO_LIMIT, UNPACKED_LIMIT
from ckpttool.formats.reading.data_file import require_truth
from ckpttool.formats.zarr.described import Described, NotReadError, described
from ckpttool.formats.zarr.store import Store

SECOND, THIRD = ".zarray", "zarr.json"
"""The names of the metadata of arrays in Zarr versions 2 and 3."""
TEXT_LIMIT = 64 << 20
"""The maximum size of metadata in bytes: that of a group may contain the metadata of all its arrays."""
CHUNK_SLACK = 64 << 20
"""The maximum number of bytes by which a chunk may exceed its array: the last chunks are padded."""


class ZarrTensors(Tensors):
    """The arrays of a store by name; those with unsupported features are skipped, and listed in `left_out`."""

    def __init__(self, place: Path, store: Store) -> None:
        """Read the metadata of each array, and compare the sizes with those of the stored data.

        Raises:
            CorruptCheckpoint: the metadata of an array is damaged.
            FormatError: the arrays would decompress to much more than the stored data.
        """
        self.place, self._store = place, store
        self.arrays: dict[str, tuple[str, Described]] = {}
        self.unread: set[str] = set()
        left_out = []
        for folder, text in _texts(store):
            try:
                array = described(store[text].read()) if store[text].size <= TEXT_LIMIT else None
            except NotReadError as why:
                left_out.append(f"{folder} ({why}: not supported)")
                self.unread.add(folder)
                continue
            except ValueError as error:
                raise CorruptCheckpoint(f"{place}: {text} is damaged: {error}") from error
            if array is not None:
                self._add(folder, array)
        self.left_out = tuple(left_out)
        self._require_room()

    def _add(self, folder: str, array: Described) -> None:
        step = TensorSpec("", array.chunks.shape, array.dtype).nbytes
        if step > array.nbytes + CHUNK_SLACK:
            raise FormatError(f"{self.place}: {folder} has {array.nbytes} bytes, but its chunks have {step} each")
        self.arrays[folder] = folder, array

    def _require_room(self) -> None:
        said = sum(array.nbytes for _, array in self.arrays.values())
        there = sum({(place.file.path, place.at): place.size for place in self._store.values()}.values())
        if said > max(UNPACKED_LIMIT, RATIO_LIMIT * there):
            raise FormatError(f"{self.place}: its arrays are declared with {said} bytes, but {there} are stored")

    def renamed(self, names: Mapping[str, str]) -> None:
        """Rename arrays.

        Raises:
            FormatError: two would have the same name.
        """
        made = {names.get(name, name): where for name, where in self.arrays.items()}
        if len(made) < len(self.arrays):
            raise FormatError(f"{self.place}: two of its arrays would have the same name")
        self.arrays = made

    def __getitem__(self, name: str) -> Tensor:
        folder, array = self.arrays[name]
        spec = TensorSpec(name, array.shape, array.dtype)
        steps = zip(array.chunks.shape[1:], array.shape[1:], strict=True)
        in_rows = array.nbytes > PIECE and all(step >= size for step, size in steps)
        pieces = partial(self._rows, spec, folder, array) if in_rows else None
        return Tensor(spec, partial(self._read, spec, folder, array), pieces)

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def _read(self, spec: TensorSpec, folder: str, array: Described) -> Array:
        import numpy as np

        from ckpttool.formats.zarr.chunks import boxes

        whole = np.empty(spec.shape, spec.dtype.numpy)
        for number, box in boxes(spec.shape, array.chunks.shape):
            whole[box] = self._box(spec, folder, array, number, box)
        return whole

    def _rows(self, spec: TensorSpec, folder: str, array: Described) -> Iterator[memoryview]:
        """Yield the bytes of an array whose chunks divide only the first axis, chunk by chunk."""
        import numpy as np

        from ckpttool.formats.zarr.chunks import boxes

        for number, box in boxes(spec.shape, array.chunks.shape):
            part = np.ascontiguousarray(self._box(spec, folder, array, number, box))
            flat = memoryview(part.reshape(-1).view(np.uint8).data)
            yield from (flat[at : at + PIECE] for at in range(0, len(flat), PIECE))

    def _box(
        self, spec: TensorSpec, folder: str, array: Described, number: tuple[int, ...], box: tuple[slice, ...]
    ) -> Array:
        """Return the part of a chunk that is within its array; a missing chunk has the fill value everywhere."""
        import numpy as np

        from ckpttool.formats.zarr.chunks import filled, numbers

        sizes = tuple(each.stop - each.start for each in box)
        key = f"{folder}/{array.key(number)}" if folder else array.key(number)
        try:
            if key not in self._store:
                return filled(sizes, array.fill, array.dtype)
            found = numbers(self._store[key].read(), array.chunks, array.dtype, array.fill)
        except ValueError as error:
            if isinstance(error, FormatError):
                raise
            raise CorruptCheckpoint(f"{self.place}: {spec.name} is damaged: {key}: {error}") from error
        part = found[tuple(slice(0, size) for size in sizes)]
        if spec.dtype.name == "bool":
            require_truth(spec, np.ascontiguousarray(part).reshape(-1).view(np.uint8), self.place)
        return part


def _texts(store: Store) -> Iterator[tuple[str, str]]:
    """Yield the folder of each array, or group of version 3, and the key of its metadata."""
    for key in store:
        folder, _, name = key.rpartition("/")
        if name in (SECOND, THIRD):
            yield folder, key
