"""Datasets of HDF5 files: checked against the bytes that are stored for them, and the places of their values.

HDF5 can declare shapes without stored bytes, and can store values in other files (external storage, virtual datasets);
both are refused before anything is read.
"""

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, NoReturn, Self, cast

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import STRING, DType
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.hdf5.source import Hdf5Source
from ckpttool.formats.hdf5.values import dtype_in, read_pieces, read_values, stored_type
from ckpttool.formats.reading.limits import RATIO_LIMIT, UNPACKED_LIMIT
from ckpttool.formats.reading.raw_tensors import ClosedFile, TensorLocation
from ckpttool.remote import sparse_files

LARGEST_CHUNK = 64 << 20
"""Maximum size in bytes of a chunk, which HDF5 decompresses as a whole, whatever is stored of it."""
MOST_UNPACKED = 1100
"""Maximum compression ratio; deflate's limit is 1,032."""
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""The filters included in h5py; any other would be a plug-in found on the machine."""


@dataclass(frozen=True)
class Place:
    """Where the values of a dataset are, in a source that has become another file too.

    They are stored raw at `offset`; if that is None, HDF5 reads the dataset `dataset`, unless it is compressed with an
    unknown filter.
    """

    spec: TensorSpec
    dataset: str
    offset: int | None = None
    unknown_filter: int | None = None

    def renamed(self, path: str) -> Self:
        """Return the place of the same dataset under another of its names."""
        return replace(self, spec=replace(self.spec, name=path))

    def tensor(self, source: Hdf5Source) -> Tensor:
        """Return the tensor, which opens the file when it is read."""
        if self.unknown_filter is not None:  # it is still listed, and reading it raises the error
            refuse = partial(_refuse_filter, source, self.spec.name, self.unknown_filter)
            return Tensor(self.spec, refuse, refuse)
        if self.offset is not None:
            file = ClosedFile(source.path, source.stamp, source.size)
            check = source.member.require_whole if source.member else None
            return TensorLocation(file, self.spec, source.start + self.offset, check).tensor()
        place = (source, self.dataset, self.spec)
        pieces = None if self.spec.dtype is STRING else partial(read_pieces, *place)
        return Tensor(self.spec, partial(read_values, *place), pieces)


def checked_place(source: Hdf5Source, dataset: Any, path: str) -> Place:
    """Check a dataset against the file, and return the place of its values.

    Raises:
        FormatError: its values are in another file, or would decompress to too many bytes.
        CorruptCheckpoint: it declares more bytes than are stored.
    """
    if dataset.is_virtual or dataset.external:
        raise FormatError(f"{source.path}: {path} stores its values in another file, which is never read")
    filters = _filters(dataset)
    _check_size(source, dataset, path, bool(filters))
    spec = TensorSpec(path, tuple(dataset.shape), cast(DType, dtype_in(dataset)))
    unknown = next((number for number in filters if number not in FILTERS), None)
    offset = _raw_offset(source, dataset, spec) if unknown is None else None
    return Place(spec, str(dataset.name), offset, unknown)


def _filters(dataset: Any) -> list[int]:
    """Return the numbers of the filters that a dataset is compressed with."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(place)[0] for place in range(properties.get_nfilters())]


def _check_size(source: Hdf5Source, dataset: Any, path: str, packed: bool) -> None:
    """Check the shape against the stored bytes."""
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > source.size and dataset.nbytes > stored * (MOST_UNPACKED if packed else 1):
        shape = list(dataset.shape)
        raise CorruptCheckpoint(
            f"{source.path}: {path} is declared as {dataset.dtype} {shape}, but {stored} bytes are stored for it"
        )
    if dataset.nbytes > max(UNPACKED_LIMIT, RATIO_LIMIT * stored):
        raise FormatError(
            f"{source.path}: {path} is declared to decompress {counted(stored, 'byte')} to {dataset.nbytes}"
        )
    chunk = prod(dataset.chunks) * dataset.dtype.itemsize if dataset.chunks else 0
    if chunk > max(LARGEST_CHUNK, stored * (RATIO_LIMIT if packed else 1)):
        raise CorruptCheckpoint(
            f"{source.path}: {path} is in chunks of {chunk} bytes, {stored} bytes are stored for all of them"
        )


def _raw_offset(source: Hdf5Source, dataset: Any, spec: TensorSpec) -> int | None:
    """Return the offset of a dataset's bytes in its source, if they are stored raw and can be read without HDF5.

    On a server they are not, as HDF5 has fetched other blocks of the file already.
    """
    import h5py

    if dataset.chunks is not None or not spec.nbytes or source.unpacked is not None or sparse_files.at(source.path):
        return None
    offset = dataset.id.get_offset()
    plain = h5py.h5t.py_create(stored_type(spec.dtype).newbyteorder("<"), logical=True)
    if offset is None or offset + spec.nbytes > source.size or not dataset.id.get_type().equal(plain):
        return None
    return int(offset)


def _refuse_filter(source: Hdf5Source, name: str, number: int) -> NoReturn:
    raise FormatError(f"{source.path}: {name} is compressed with filter {number}, which is unknown")
