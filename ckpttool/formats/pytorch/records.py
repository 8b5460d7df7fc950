"""Inert records that replace the objects in PyTorch's pickles."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpttool.core.dtypes import DType
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Array


@dataclass(frozen=True, eq=False)
class Global:
    """The name of a class or function, which is never imported."""

    name: str


@dataclass(frozen=True, eq=False)
class Unread:
    """An unsupported tensor or storage; `why` is the reason, as the continuation of its name in a message.

    `itemsize` is the size in bytes of a storage's elements, or 0 if unknown.
    """

    why: str
    itemsize: int = 0


class Pairs(list[tuple[Any, Any]]):
    """A dict as a list of its keys and values in order, so that no object of a file is hashed or compared."""

    def get(self, key: str) -> Any:
        """Return the value of a key, or None; as in a dict, the last one counts."""
        return next((value for name, value in reversed(self) if type(name) is str and name == key), None)


@dataclass(eq=False)
class Object:
    """An object of any class: its constructor arguments, its state, and the pairs and items added to it."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    pairs: Pairs = field(default_factory=Pairs)
    items: list[Any] = field(default_factory=list)

    @property
    def attributes(self) -> Pairs:
        """Its attributes, as far as its state and arguments are dicts."""
        states = self.state if isinstance(self.state, tuple) else (self.state, *self.arguments)
        return Pairs(pair for state in states if isinstance(state, Pairs) for pair in state)

    @property
    def parts(self) -> list[Any]:
        """Its other parts: its items, and arguments and states that are not dicts."""
        listed = isinstance(self.state, (tuple, list)) and not isinstance(self.state, Pairs)
        states = self.state if listed else (self.state,)
        return [*self.items, *(part for part in (*self.arguments, *states) if not isinstance(part, Pairs))]


@dataclass(frozen=True, eq=False)
class Storage:
    """Bytes in the file under a key, and their dtype (None if the tensor specifies it)."""

    key: str
    dtype: DType | None
    elements: int
    start: int = 0
    """The index of its first element, if it is a part of the bytes under the key."""

    @property
    def nbytes(self) -> int:
        """The declared size in bytes."""
        return self.elements * (self.dtype.itemsize if self.dtype else 1)

    def require(self, path: Path, size: int | None) -> None:
        """Check that a file has the storage, with the number of bytes that its pickle declares.

        Raises:
            CorruptCheckpoint: if it is missing (`size` is None), or its size differs.
        """
        if size is None:
            raise CorruptCheckpoint(f"{path}: its pickle refers to the storage {self.key}, which is missing")
        if size != self.nbytes:
            raise CorruptCheckpoint(
                f"{path}: storage {self.key} has {size} bytes, but {self.nbytes} according to its pickle"
            )


@dataclass(frozen=True, eq=False)
class View:
    """A tensor: a strided view of a storage; offset and strides are in elements."""

    storage: Storage
    dtype: DType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """The number of the storage's elements from the view's first to its last."""
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

    def laid_out(self, raw: Array) -> Array:
        """Return the array in C order, given the storage's bytes from the view's first element to its last."""
        import numpy as np

        # `as_strided` uses NumPy's array interface, which does not support ml_dtypes; so the elements are bytes here.
        size = self.dtype.itemsize
        strided = np.lib.stride_tricks.as_strided(
            raw.view(f"V{size}"), self.shape, [size * each for each in self.strides]
        )
        return np.ascontiguousarray(strided).reshape(self.shape).view(self.dtype.numpy)
