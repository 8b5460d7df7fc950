"""Reading values of HDF5 datasets, whole or in pieces, and their element types."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ckpttool.core.dtypes import BY_NAME, STRING, DType, dtype_of
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import PIECE, Array, TensorSpec
from ckpttool.formats.hdf5.source import Hdf5Source, opened
from ckpttool.formats.reading.data_file import require_truth
from ckpttool.formats.wire.elements import as_bytes

if TYPE_CHECKING:
    import numpy as np

MARK = "dtype"
"""The attribute with the dtype of a dataset of bytes if HDF5 has no such type, as Keras writes it for bfloat16."""
STRINGS_AT_ONCE = 256 << 20
"""The maximum size in bytes of strings that are read at once: many elements may refer to the same long string."""
TEXTS_AT_ONCE, TEXTS_RATIO = 128 << 20, 2
"""The memory limit while strings are read: a number of bytes, plus a multiple of the file's size."""
Block = tuple[tuple[int | slice, ...], tuple[int, ...]]


@contextmanager
def bounded(source: Hdf5Source) -> Iterator[None]:
    """Limit the memory of this process while variable-length strings are read, if the system supports this.

    Strings declare their own lengths, or refer to the same string as others, and HDF5 allocates the declared memory
    before it reads, so a small file could exhaust the memory.
    """
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(pages.read_text().split()[0]) * resource.getpagesize()
    most = used + TEXTS_AT_ONCE + TEXTS_RATIO * source.size
    resource.setrlimit(resource.RLIMIT_AS, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def text_of(value: Any) -> str:
    """Return a name that the file stores as bytes or text as a string."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def is_plain(kind: Any) -> bool:
    """Return whether an element type is a number or a string, rather than references or lists."""
    import h5py

    if kind.kind == "O":
        return h5py.check_string_dtype(kind) is not None
    return kind.kind in "SU" or kind.newbyteorder("=").name in BY_NAME


def stored_type(dtype: DType) -> "np.dtype[Any]":
    """Return the type of a dataset's elements: bfloat16 and similar dtypes are stored as bytes with a mark."""
    import numpy as np

    return np.dtype(f"V{dtype.itemsize}") if dtype.numpy_name.startswith("ml_dtypes") else dtype.numpy


def has_attributes(member: Any) -> bool:
    """Return whether a group or dataset has attributes: most have none, and looking one up takes longer."""
    import h5py

    return bool(h5py.h5a.get_num_attrs(member.id))


def dtype_in(dataset: Any) -> DType | None:
    """Return the dtype of a dataset, by its mark if that fits; None if the elements are neither numbers nor strings."""
    import numpy as np

    kind = dataset.dtype.newbyteorder("=")
    marked = BY_NAME.get(text_of(dataset.attrs.get(MARK, ""))) if has_attributes(dataset) else None
    if marked is not None and marked.itemsize and stored_type(marked) == kind:
        return marked
    if not is_plain(kind):
        return None
    return STRING if kind.kind in "OSU" else dtype_of(np.empty(0, kind))


def oddity(dataset: Any) -> str | None:
    """Return a description of a dataset that is not an array of numbers or strings, else None."""
    import h5py

    if dataset.shape is None:
        return "nothing, not even a shape"
    try:
        kind = dataset.dtype
    except TypeError:
        return "elements of a type unknown to NumPy"
    if dtype_in(dataset) is not None:
        return None
    if h5py.check_ref_dtype(kind) is not None:
        return "references to objects"
    if (each := h5py.check_vlen_dtype(kind)) is not None:
        return f"lists of {each}"
    return f"records of {', '.join(kind.names)}" if kind.names else f"elements of {kind}"


def read_values(source: Hdf5Source, place: str, spec: TensorSpec) -> Array:
    """Read one dataset.

    Raises:
        CorruptCheckpoint: it cannot be read, or has changed since the file was listed.
    """
    with opened(source, spec.name) as file:
        dataset = _same(source, file[place], spec)
        return _strings(source, dataset, spec) if spec.dtype is STRING else _numbers(source, dataset[()], spec, "=")


def read_pieces(source: Hdf5Source, place: str, spec: TensorSpec) -> Iterator[memoryview]:
    """Yield the bytes of a dataset of numbers, little-endian and in C order; raises the errors of `read_values`."""
    import numpy as np

    with opened(source, spec.name) as file:
        dataset = _same(source, file[place], spec)
        for index, _ in blocks(spec.shape, spec.dtype.itemsize, dataset.chunks):
            array = np.ascontiguousarray(_numbers(source, dataset[index], spec, "<"))
            yield memoryview(array.reshape(-1).view(np.uint8).data)


def blocks(shape: tuple[int, ...], itemsize: int, chunks: tuple[int, ...] | None = None) -> Iterator[Block]:
    """Yield, in C order, the indices and shapes of contiguous parts of an array.

    A part has about `PIECE` bytes, or more if a chunk of the dataset would otherwise be read several times.

    >>> list(blocks((3, 1 << 20), 4))[1]
    ((slice(1, 2, None),), (1, 1048576))
    """
    row = prod(shape[1:]) * itemsize
    if not shape or shape[0] * row <= PIECE:
        yield (), shape
    elif row > PIECE and (chunks is None or chunks[0] == 1):
        for number in range(shape[0]):
            for index, part in blocks(shape[1:], itemsize, chunks and chunks[1:]):
                yield (number, *index), part
    else:
        least = chunks[0] if chunks else 1
        step = max(PIECE // row // least, 1) * least
        for start in range(0, shape[0], step):
            stop = min(start + step, shape[0])
            yield (slice(start, stop),), (stop - start, *shape[1:])


def _same(source: Hdf5Source, dataset: Any, spec: TensorSpec) -> Any:
    if tuple(dataset.shape) != spec.shape or dtype_in(dataset) is not spec.dtype:
        raise CorruptCheckpoint(f"{source.path}: {spec.name} changed while the file was read")
    return dataset


def _numbers(source: Hdf5Source, values: Any, spec: TensorSpec, order: Literal["<", "="]) -> Array:
    """Return the numbers in the spec's dtype and a byte order."""
    import numpy as np

    array = np.asarray(values)
    require_truth(spec, array, source.path)
    if array.dtype.kind == "V":
        return array.view(spec.dtype.numpy)
    return array.astype(array.dtype.newbyteorder(order), copy=False)


def _strings(source: Hdf5Source, dataset: Any, spec: TensorSpec) -> Array:
    """Return the strings of a dataset; they are refused if together they are longer than the file."""
    import numpy as np

    flat = np.empty(spec.elements, object)
    step, total = max(STRINGS_AT_ONCE // max(source.size, 1), 1), 0
    for at, text in enumerate(_cells(source, dataset, spec, step)):
        total += len(text)
        if dataset.dtype.kind == "O" and total > source.size:
            raise CorruptCheckpoint(f"{source.path}: the texts of {spec.name} are longer than the file")
        flat[at] = text
    return flat.reshape(spec.shape)


def _cells(source: Hdf5Source, dataset: Any, spec: TensorSpec, step: int) -> Iterator[bytes]:
    """Yield the strings of a dataset, of which at most `step` are read at once."""
    import numpy as np

    for index, _ in blocks(spec.shape, max(PIECE // step, 1)):
        with bounded(source):
            texts = np.asarray(dataset[index], object).ravel().tolist()
        yield from as_bytes(texts, spec.name)
