"""What stands in for the objects of PyTorch's pickles: records that do nothing, and the names that make them.

A name that is not here is refused. What those that are here do in PyTorch: torch/_utils.py, torch/serialization.py.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ckpttool.core.tensors import BY_NAME, DType
from ckpttool.formats.pytorch.numpy_arrays import encoded, numpy_type, reconstructed, scalar

RANK_LIMIT = 64
SIZE_LIMIT = 1 << 63
STORAGES = {
    "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
}
"""The classes of storages, which say what their elements are."""
RAW_STORAGES = {"torch.storage.UntypedStorage", "torch.storage._UntypedStorage"}
"""Those of bytes: the tensor says what they are."""
DTYPES = {
    f"torch.{name}": BY_NAME[name]
    for name in (*STORAGES.values(), "uint16", "uint32", "uint64", "float8_e5m2", "float8_e4m3fn")
}
UNREAD = {
    "torch._utils._rebuild_qtensor": "is quantised",
    "torch._utils._rebuild_sparse_tensor": "is sparse",
    "torch._utils._rebuild_nested_tensor": "is nested",
    "torch._utils._rebuild_meta_tensor_no_storage": "is a meta tensor, which has no numbers",
}
"""Tensors of PyTorch that no checkpoint of TensorFlow has."""
UNREAD_TYPES = {
    *(f"torch.{name}Storage" for name in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")),
    *(f"torch.{name}" for name in ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2")),
    *(f"torch.{name}" for name in ("bits8", "complex32", "qint8", "quint8", "qint32", "quint4x2", "quint2x4")),
    *(f"torch.{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
    *(f"torch.per_{part}_affine" for part in ("tensor", "channel")),
    "torch.per_channel_affine_float_qparams",
    "torch.serialization._get_layout",
}
"""What the pickles of such name."""


@dataclass(frozen=True, eq=False)
class Global:
    """A class or function by its name, which is never looked up."""

    name: str


@dataclass(frozen=True, eq=False)
class Opaque:
    """An object that is of no use here."""

    name: str


@dataclass(frozen=True, eq=False)
class Unread:
    """A tensor, or the storage of one, of a kind that is not read; `why` goes on from its name."""

    why: str


class Pairs(list[tuple[Any, Any]]):
    """A dict, as its keys and values in order: nothing of a file is hashed, or compared."""


@dataclass(frozen=True, eq=False)
class Storage:
    """Bytes in the file under a key, and what they are unless the tensor says it."""

    key: str
    dtype: DType | None
    elements: int

    @property
    def nbytes(self) -> int:
        """Its bytes, as it is said to have."""
        return self.elements * (self.dtype.itemsize if self.dtype else 1)


@dataclass(frozen=True, eq=False)
class View:
    """A tensor: elements of a storage, from an offset, at steps; all three count elements."""

    storage: Storage
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """How many elements of the storage there are from its first to its last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))

    @property
    def whole(self) -> bool:
        """Whether its elements are contiguous and in order."""
        dense = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size > 1 and stride != dense:
                return 0 in self.shape
            dense *= size
        return True


def make(name: str, arguments: Any) -> Any:
    """Return what a call of a name makes.

    Raises:
        ValueError: the arguments are not such that PyTorch writes.
    """
    if name in UNREAD:
        return Unread(UNREAD[name])
    if not isinstance(arguments, tuple):
        raise ValueError(f"{name} is called with what is no tuple")
    return MAKERS[name](arguments) if name in MAKERS else Opaque(name)


def storage(description: Any) -> Storage | Unread:
    """Return the storage that a persistent id means: a word, its class, its key, a device, a number of elements.

    Raises:
        ValueError: it is not a storage.
    """
    if (
        not isinstance(description, tuple)
        or len(description) != 5
        or description[0] != "storage"
        or not isinstance(description[1], Global)
    ):
        raise ValueError("an id is not that of a storage")
    _, kind, key, _, elements = description
    if not isinstance(key, str) or not _is_size(elements):
        raise ValueError("a storage has no key, or no size")
    if kind.name in RAW_STORAGES:
        return Storage(key, None, elements)
    if kind.name not in STORAGES:
        return Unread(f"is of a {kind.name}")
    return Storage(key, BY_NAME[STORAGES[kind.name]], elements)


def _tensor(arguments: tuple[Any, ...], dtype: DType | None = None) -> View | Unread:
    held, offset, shape, strides = arguments[:4]
    if isinstance(held, Unread):
        return held
    if not isinstance(held, Storage) or not (dtype := dtype or held.dtype):
        raise ValueError("a tensor has no storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or not len(shape) == len(strides) <= RANK_LIMIT:
        raise ValueError("a tensor has a shape or strides that cannot be")
    if not all(map(_is_size, (offset, *shape, *strides))) or math.prod(max(1, size) for size in shape) >= SIZE_LIMIT:
        raise ValueError(f"a tensor has the impossible shape {list(shape)} or strides {list(strides)}")
    view = View(held, dtype, offset, shape, strides)
    if view.span and (end := (offset + view.span) * dtype.itemsize) > held.nbytes:
        raise ValueError(f"a tensor {dtype} {list(shape)} ends at byte {end} of storage {held.key} of {held.nbytes}")
    return view


def _tensor_2(arguments: tuple[Any, ...]) -> View | Unread:
    for key, value in arguments[6] if len(arguments) > 6 and isinstance(arguments[6], Pairs) else ():
        if value is True and key in ("conj", "neg"):
            return Unread(f"is kept as one that is still to be changed; resolve_{key}() changes it")
    return _tensor(arguments)


def _tensor_3(arguments: tuple[Any, ...]) -> View | Unread:
    dtype = arguments[6]
    if not isinstance(dtype, Global):
        raise ValueError("a tensor has no dtype")
    return _tensor(arguments, DTYPES[dtype.name]) if dtype.name in DTYPES else Unread(f"is {dtype.name}")


def _subclass(arguments: tuple[Any, ...]) -> Any:
    function, _, inner, _ = arguments
    if not isinstance(function, Global) or function.name not in TENSOR_MAKERS:
        raise ValueError("a tensor is made by what makes none")
    return make(function.name, inner)


def _first(arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if arguments else []


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < SIZE_LIMIT


TENSOR_MAKERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_2,
    "torch._utils._rebuild_tensor_v3": _tensor_3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
}
_NUMPY = {"_reconstruct": reconstructed, "scalar": scalar}
MAKERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": lambda _: Pairs(),
    "collections.defaultdict": lambda _: Pairs(),
    "collections.Counter": _first,
    "pytorch_lightning.utilities.parsing.AttributeDict": lambda _: Pairs(),
    "lightning_fabric.utilities.data.AttributeDict": lambda _: Pairs(),
    "lightning.fabric.utilities.data.AttributeDict": lambda _: Pairs(),
    "builtins.set": _first,
    "builtins.frozenset": _first,
    "torch.Size": _first,
    **TENSOR_MAKERS,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "_codecs.encode": encoded,
    "builtins.bytes": lambda arguments: None if arguments else b"",  # as protocol 2 has no bytes
    "numpy.dtype": numpy_type,
    **{f"numpy.{core}.multiarray.{name}": make for core in ("core", "_core") for name, make in _NUMPY.items()},
}
"""What a call of a name makes of its arguments."""
KNOWN = {
    *MAKERS,
    *STORAGES,
    *RAW_STORAGES,
    *DTYPES,
    *UNREAD,
    *UNREAD_TYPES,
    "torch.device",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
    "builtins.dict",
    "builtins.list",
    "builtins.int",
    "builtins.float",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.slice",
    "argparse.Namespace",
    "types.SimpleNamespace",
    "datetime.datetime",
    "datetime.timedelta",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "numpy.ndarray",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
}
"""Every name that may stand in a file; what is made of one without a maker is opaque."""
