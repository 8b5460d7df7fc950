"""The arrays of a store as tensors, whose chunks are read on demand and checked."""

import math
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import PIECE, Array, Tensor, TensorSpec
from ckpttool.formats.format import Tensors
from ckpttool.formats.reading.data_file import require_truth
from ckpttool.formats.reading.limits import RATIO_LIMIT, UNPACKED_LIMIT
from ckpttool.formats.zarr.described import MOST_CHUNKS, Described, NotReadError, described
from ckpttool.formats.zarr.store import Store, bytes_of

SECOND, THIRD = ".zarray", "zarr.json"
"""The names of the metadata of arrays in Zarr versions 2 and 3."""
TEXT_LIMIT = 64 << 20
"""The maximum size of metadata in bytes: that of a group may contain the metadata of all its arrays."""
LARGEST = 64 << 20
"""The maximum number of bytes, whatever is stored, that must be in memory at once to read a part of an array."""
CHUNK_SLACK = 64 << 20
"""The maximum number of bytes by which a chunk may exceed its array: the last chunks are padded."""


class ZarrTensors(Tensors):
    """The arrays of a store by name; those with unsupported features are skipped, and listed in `left_out`."""

    def __init__(self, place: Path, store: Store, beside: int = 0) -> None:
        """Read the metadata of each array, and compare the sizes with those of the stored data.

        `beside` is the number of bytes of other stores in the same checkpoint: an optimizer's state may be all zeros.

        Raises:
            CorruptCheckpoint: the metadata of an array is damaged.
            FormatError: the arrays would decompress to much more than the stored data.
        """
        self.place, self._store, self._beside = place, store, beside
        self.arrays: dict[str, tuple[str, Described]] = {}
        self.unread: set[str] = set()
        left_out = []
        self._require_distinct_texts()
        for folder, text in _texts(store):
            raw = store[text].read() if store[text].length <= TEXT_LIMIT else None
            try:
                array = None if raw is None else described(raw)
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
        step = array.chunks.nbytes(array.dtype)
        if step > array.nbytes + CHUNK_SLACK:
            raise FormatError(f"{self.place}: {folder} has {array.nbytes} bytes, but its chunks have {step} each")
        self.arrays[folder] = folder, array

    def _require_distinct_texts(self) -> None:
        """Check that the metadata is not the same bytes over and over, of which each is parsed."""
        said = sum(self._store[text].length for _, text in _texts(self._store))
        there = bytes_of(self._store)
        if said > max(TEXT_LIMIT, there):
            raise FormatError(f"{self.place}: the metadata of its arrays has {said} bytes, but {there} are stored")

    def _require_room(self) -> None:
        said = sum(max(array.nbytes, array.unpacked) for _, array in self.arrays.values())
        there = self._beside + bytes_of(self._store)
        if said > max(UNPACKED_LIMIT, RATIO_LIMIT * there):
            raise FormatError(f"{self.place}: its arrays are declared with {said} bytes, but {there} are stored")
        for folder, array in self.arrays.values():
            if array.band > max(LARGEST, RATIO_LIMIT * there):
                raise FormatError(
                    f"{self.place}: {folder} is declared with {array.band} bytes that must be read at once, but "
                    f"{there} are stored"
                )
        if (chunks := sum(math.prod(array.grid) for _, array in self.arrays.values())) > MOST_CHUNKS:
            raise FormatError(
                f"{self.place}: its arrays are split into {chunks} chunks, at most {MOST_CHUNKS} are read"
            )

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
        pieces = partial(self._pieces, spec, folder, array) if array.nbytes > PIECE else None
        return Tensor(spec, partial(self._read, spec, folder, array), pieces)

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def _read(self, spec: TensorSpec, folder: str, array: Described) -> Array:
        return self._band(spec, folder, array, range(array.grid[0] if array.grid else 1))

    def _pieces(self, spec: TensorSpec, folder: str, array: Described) -> Iterator[memoryview]:
        """Yield the bytes of an array, by bands of about a piece: chunks side by side along the first axis."""
        import numpy as np

        count, step = array.grid[0], max(1, PIECE // array.band)
        for first in range(0, count, step):
            band = self._band(spec, folder, array, range(first, min(first + step, count)))
            flat = memoryview(band.reshape(-1).view(np.uint8).data)
            yield from (flat[at : at + PIECE] for at in range(0, len(flat), PIECE))

    def _band(self, spec: TensorSpec, folder: str, array: Described, rows: range) -> Array:
        """Return the part of an array whose chunks have these numbers along the first axis.

        Missing chunks have the fill value everywhere; they are not visited one by one, since there may be a million.
        """
        import numpy as np

        from ckpttool.formats.zarr.chunks import box_of, filled

        top = rows.start * array.chunks.shape[0] if rows and array.grid else 0
        shape = tuple(each.stop - each.start for each in array.rows(rows))
        axes = [rows, *map(range, array.grid[1:])] if array.grid else []
        lead = f"{folder}/" if folder else ""
        there = {number: key for number in product(*axes) if (key := lead + array.key(number)) in self._store}
        try:
            missing = len(there) < math.prod(map(len, axes))
            band = filled(shape, array.fill, array.dtype) if missing else np.empty(shape, array.dtype.numpy)
        except ValueError as error:
            raise CorruptCheckpoint(f"{self.place}: {spec.name} is damaged: {error}") from error
        for number, key in there.items():
            box = box_of(number, array.chunks.shape, array.shape)
            inside = (slice(box[0].start - top, box[0].stop - top), *box[1:]) if box else ()
            band[inside] = self._chunk(spec, array, key, box)
        return band

    def _chunk(self, spec: TensorSpec, array: Described, key: str, box: tuple[slice, ...]) -> Array:
        """Return the part of a chunk that is within its array."""
        import numpy as np

        from ckpttool.formats.zarr.chunks import numbers

        try:
            found = numbers(self._store[key].read(), array.chunks, array.dtype, array.fill)
        except ValueError as error:
            if isinstance(error, FormatError):
                raise
            raise CorruptCheckpoint(f"{self.place}: {spec.name} is damaged: {key}: {error}") from error
        part = found[tuple(slice(0, each.stop - each.start) for each in box)]
        if spec.dtype.name == "bool":
            require_truth(spec, np.ascontiguousarray(part).reshape(-1).view(np.uint8), self.place)
        return part


def _texts(store: Store) -> Iterator[tuple[str, str]]:
    """Yield the folder of each array, or group of version 3, and the key of its metadata."""
    for key in store:
        folder, _, name = key.rpartition("/")
        if name in (SECOND, THIRD):
            yield folder, key
