"""What stands in for the objects of PyTorch's pickles: records that do nothing."""

from dataclasses import dataclass, field
from typing import Any

from ckpttool.core.dtypes import DType
from ckpttool.core.tensors import Array


@dataclass(frozen=True, eq=False)
class Global:
    """A class or function by its name, which is never looked up."""

    name: str


@dataclass(frozen=True, eq=False)
class Unread:
    """A tensor, or the storage of one, of a kind that is not read; `why` goes on from its name.

    `itemsize` is that of a storage's elements, where it is known.
    """

    why: str
    itemsize: int = 0


class Pairs(list[tuple[Any, Any]]):
    """A dict, as its keys and values in order: nothing of a file is hashed, or compared."""

    def get(self, key: str) -> Any:
        """Return the value of a key, None where it is not there; as in a dict the last one counts."""
        return next((value for name, value in reversed(self) if type(name) is str and name == key), None)


@dataclass(eq=False)
class Object:
    """An object of any class: what it was made of, the state it was given, and what was put into it."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: Any = None
    pairs: Pairs = field(default_factory=Pairs)
    items: list[Any] = field(default_factory=list)

    @property
    def attributes(self) -> Pairs:
        """Its attributes, as far as they are a dict."""
        states = self.state if isinstance(self.state, tuple) else (self.state, *self.arguments)
        return Pairs(pair for state in states if isinstance(state, Pairs) for pair in state)

    @property
    def parts(self) -> list[Any]:
        """What else it is made of: its items, and arguments and a state that have no keys."""
        states = self.state if isinstance(self.state, (tuple, list)) else (self.state,)
        return [*self.items, *(part for part in (*self.arguments, *states) if not isinstance(part, Pairs))]


@dataclass(frozen=True, eq=False)
class Storage:
    """Bytes in the file under a key, and what they are unless the tensor says it."""

    key: str
    dtype: DType | None
    elements: int
    start: int = 0
    """Which element is its first, where it is a part of what lies under the key."""

    @property
    def nbytes(self) -> int:
        """The bytes under its key, as they are said to be."""
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

    def laid_out(self, raw: Array) -> Array:
        """Return the array in C order that bytes are, those from its first element in the storage to its last."""
        import numpy as np

        # NumPy's interface, which strides go through, does not know the types of ml_dtypes: there they are bytes.
        size = self.dtype.itemsize
        strided = np.lib.stride_tricks.as_strided(
            raw.view(f"V{size}"), self.shape, [size * each for each in self.strides]
        )
        return np.ascontiguousarray(strided).reshape(self.shape).view(self.dtype.numpy)
