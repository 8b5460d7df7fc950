"""Records made for the names in PyTorch's pickles: of tensors, arrays, and objects of any other class.

The functions are in torch/_utils.py and torch/serialization.py. No name is ever looked up or called.
"""

import re
from collections.abc import Callable
from typing import Any

from ckpttool.core.dtypes import BY_NAME, DType
from ckpttool.core.errors import FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.formats.pytorch.numpy_arrays import NumpyArray, encoded, from_buffer, numpy_type, reconstructed, scalar
from ckpttool.formats.pytorch.records import Global, Object, Pairs, Storage, Unread, View

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
"""The classes of storages, with the dtypes of their elements."""
RAW_STORAGES = {"torch.storage.UntypedStorage", "torch.storage._UntypedStorage"}
"""Storages of untyped bytes, whose dtype is the tensor's."""
QUANTISED_STORAGES = {
    **{f"torch.{name}Storage": 1 for name in ("QInt8", "QUInt8", "QUInt4x2", "QUInt2x4")},
    "torch.QInt32Storage": 4,
}
"""Unsupported storages, with the size of their elements in bytes."""
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
"""Tensors of PyTorch that have no counterpart in checkpoints of TensorFlow."""
_ACTING_MODULES = (
    "os|posix|nt|sys|subprocess|_posixsubprocess|shutil|socket|ssl|pty|runpy|importlib|imp|pkgutil|pdb|bdb|code|codeop"
    "|commands|popen2|webbrowser|ctypes|_ctypes|cffi|multiprocessing|concurrent|asyncio|signal|http|urllib|urllib2|httplib"
    "|requests|ftplib|smtplib|telnetlib|xmlrpc|platform|timeit|trace|profile|cProfile|doctest|pip|ensurepip|venv|distutils"
    "|pickle|_pickle|marshal|torch[.]hub|torch[.]utils[.]cpp_extension|torch[.]jit[.]unsupported_tensor_ops"
    "|numpy[.]testing[.]_private[.]utils"
)
ACTING = re.compile(
    rf"({_ACTING_MODULES})([.].*)?|builtins[.](eval|exec|execfile|compile|open|input|breakpoint|__import__|reload)"
    r"|(torch|torch[.]serialization|torch[.]jit|numpy|joblib)[.]load|torch[.]ops[.]load_library"
)
"""Names that weights do not need and that could act where PyTorch loads the file, so that they are reported."""
NAME = re.compile(r"[.<>]*\w[\w<>]*[.][\w.<>]+")


class ForbiddenName(FormatError):
    """A pickle refers to a function that could act where PyTorch loads it."""


def require_harmless(name: str) -> None:
    """Check that a name is not one that could act.

    >>> require_harmless("models.yolo.Detect")

    Raises:
        ForbiddenName: it could act, or is not a name.
    """
    if ACTING.fullmatch(name) or not NAME.fullmatch(name):
        raise ForbiddenName(name)


def make(name: str, arguments: Any) -> Any:
    """Return the record for a call of a name; for an unknown name an inert object.

    Raises:
        ValueError: PyTorch does not write such arguments.
        ForbiddenName: the name could act.
    """
    if name in UNREAD:
        return Unread(UNREAD[name])
    if not isinstance(arguments, tuple):
        raise ValueError(f"{name} is called with something else than a tuple")
    return MAKERS[name](arguments) if name in MAKERS else Object(name, arguments)


def storage(description: Any) -> Storage | Unread:
    """Return the storage for a persistent id: a word, its class, its key, a device, and the number of elements.

    Raises:
        ValueError: the id is not that of a storage.
    """
    if (
        not isinstance(description, tuple)
        or len(description) != 5
        or description[0] != "storage"
        or not isinstance(description[1], Global)
    ):
        raise ValueError("an id is not that of a storage")
    _, kind, key, _, elements = description
    if not isinstance(key, str) or not is_size(elements):
        raise ValueError("a storage has no key, or no size")
    return storage_of(kind.name, key, elements)


def storage_of(kind: str, key: str, elements: int) -> Storage | Unread:
    """Return a storage of a class."""
    if kind in RAW_STORAGES:
        return Storage(key, None, elements)
    if kind in STORAGES:
        return Storage(key, BY_NAME[STORAGES[kind]], elements)
    return Unread(f"is of a {kind}", QUANTISED_STORAGES.get(kind, 0))


def tensor_of(held: Storage, offset: Any, shape: Any, strides: Any, dtype: DType | None = None) -> View:
    """Return the tensor that is a view of a storage.

    Raises:
        ValueError: its shape or its place is not valid.
    """
    if not isinstance(held, Storage) or not (dtype := dtype or held.dtype):
        raise ValueError("a tensor has no storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or not len(shape) == len(strides) <= RANK_LIMIT:
        raise ValueError("a tensor has an invalid shape or strides")
    if not all(map(is_size, (offset, *shape, *strides))) or not is_possible(shape, dtype.itemsize):
        raise ValueError(f"a tensor has the impossible shape {list(shape)} or strides {list(strides)}")
    view = View(held, dtype, held.start + offset, shape, strides)
    if view.span and (end := (view.offset + view.span) * dtype.itemsize) > held.nbytes:
        raise ValueError(f"a tensor {dtype} {list(shape)} ends at byte {end} of storage {held.key} of {held.nbytes}")
    return view


def _tensor(arguments: tuple[Any, ...], dtype: DType | None = None) -> View | Unread:
    held, offset, shape, strides = arguments[:4]
    return held if isinstance(held, Unread) else tensor_of(held, offset, shape, strides, dtype)


def _tensor_2(arguments: tuple[Any, ...]) -> View | Unread:
    for key, value in arguments[6] if len(arguments) > 6 and isinstance(arguments[6], Pairs) else ():
        if value is True and key in ("conj", "neg"):
            return Unread(f"has a pending {key}; resolve_{key}() before saving applies it")
    return _tensor(arguments)


def _tensor_3(arguments: tuple[Any, ...]) -> View | Unread:
    dtype = arguments[6]
    if not isinstance(dtype, Global):
        raise ValueError("a tensor has no dtype")
    return _tensor(arguments, DTYPES[dtype.name]) if dtype.name in DTYPES else Unread(f"is {dtype.name}")


def _subclass(arguments: tuple[Any, ...]) -> Any:
    function, _, inner, _ = arguments
    if not isinstance(function, Global) or function.name not in TENSOR_MAKERS:
        raise ValueError("a tensor is made by something that makes none")
    return make(function.name, inner)


def _ordered(arguments: tuple[Any, ...]) -> Pairs:
    """Return a dict; Python 2 stores the items of an ordered one as lists of two."""
    items = arguments[0] if arguments and isinstance(arguments[0], list) else []
    return Pairs((item[0], item[1]) for item in items if isinstance(item, (list, tuple)) and len(item) == 2)


def _instance(arguments: tuple[Any, ...]) -> Object:
    """Return the object that a function of `copyreg` makes of a class."""
    kind, *rest = arguments
    return Object(kind.name if isinstance(kind, Global) else "builtins.object", tuple(rest))


def _attribute(arguments: tuple[Any, ...]) -> Object:
    """Return the record for `getattr` of a class: a member of an enumeration, or a method.

    Raises:
        ForbiddenName: the arguments are others.
    """
    match arguments:
        case (Global(name) | Object(name), str(attribute)):
            return Object(f"{name}.{attribute}")
    raise ForbiddenName("builtins.getattr")


def _copied(arguments: tuple[Any, ...]) -> Any:
    """Return the tensor or the array that was copied from another device."""
    copied = arguments[0] if arguments else None
    return copied if isinstance(copied, (View, NumpyArray)) else Unread("is of an unknown device")


def _first(arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if arguments else []


def is_size(value: Any) -> bool:
    """Return whether a value is a valid number of elements."""
    return type(value) is int and 0 <= value < SIZE_LIMIT


TENSOR_MAKERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_2,
    "torch._utils._rebuild_tensor_v3": _tensor_3,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
}
_NUMPY = {
    "multiarray._reconstruct": reconstructed,
    "multiarray.scalar": scalar,
    "numeric._frombuffer": from_buffer,
}
MAKERS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _ordered,
    "collections.Counter": _first,
    "builtins.dict": _ordered,
    "builtins.getattr": _attribute,
    "copyreg._reconstructor": _instance,
    "copyreg.__newobj__": _instance,
    "builtins.set": _first,
    "builtins.frozenset": _first,
    "torch.Size": _first,
    **TENSOR_MAKERS,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._utils._rebuild_device_tensor_from_numpy": _copied,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _copied,
    "torch._utils._rebuild_xla_tensor": _copied,
    "torch.jit._pickle.restore_type_tag": _first,
    **{f"torch.jit._pickle.build_{kind}list": _first for kind in ("int", "double", "bool", "tensor")},
    "_codecs.encode": encoded,
    "builtins.bytes": lambda arguments: None if arguments else b"",  # as protocol 2 has no bytes
    "numpy.dtype": numpy_type,
    **{f"numpy.{core}.{name}": make for core in ("core", "_core") for name, make in _NUMPY.items()},
}
"""The functions that make records of a call's arguments, by name."""
