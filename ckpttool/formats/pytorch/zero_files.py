"""The files of ZeRO's processes: facts about weights in their pickles, and ranges of flat tensors."""

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from ckpttool.core.dtypes import DType
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.shapes import is_possible
from ckpttool.core.tensors import Array, TensorSpec
from ckpttool.formats.pytorch.archive import TorchArchive
from ckpttool.formats.pytorch.legacy import OldFile, is_old
from ckpttool.formats.pytorch.makers import RANK_LIMIT, is_size
from ckpttool.formats.pytorch.records import Object, Pairs, Storage, View
from ckpttool.formats.reading.data_file import gathered, require_truth

OF_OPTIMIZER = "optimizer_state_dict"
REPEATED_LIMIT = 64 << 20
"""The maximum number of bytes by which a tensor may exceed its storage."""
Shape = tuple[int, ...]


class Saved:
    """A file of a process: the content of its pickle, as records, and the bytes of its tensors."""

    def __init__(self, path: Path) -> None:
        """Interpret the pickle.

        Raises:
            FormatError: it references code that could run, or is big-endian.
            CorruptCheckpoint: it is damaged.
        """
        self.path = path
        self.archive = OldFile(path) if is_old(path) else TorchArchive(path)
        value = self.archive.value()
        if not isinstance(value, Pairs):
            raise CorruptCheckpoint(f"{path}: expected a dict, as in files of DeepSpeed")
        if self.archive.big:
            raise FormatError(f"{path}: it was written on a big-endian machine, which is not supported")
        inner = value.get(OF_OPTIMIZER)
        self._value = inner if isinstance(inner, Pairs) else value
        self._checked: set[str] = set()
        self.held: list[Storage] = []
        """The storages of weights."""

    def number(self, key: str) -> int:
        """Return a number, the maximum of a list, or the value of an enumeration; -1 if there is none."""
        value = self._value.get(key)
        value = value.arguments[0] if isinstance(value, Object) and len(value.arguments) == 1 else value
        numbers = value if isinstance(value, list) else [value]
        return max((each for each in numbers if type(each) is int), default=-1)

    def texts(self, keys: Iterable[str]) -> dict[str, str]:
        """Return strings and integers as strings, of at most 1000 characters."""
        found = {key: self._value.get(key) for key in keys}
        return {key: str(value)[:1000] for key, value in found.items() if type(value) in (str, int)}

    def names(self, key: str) -> set[str]:
        """Return the strings in a list; empty if there is no list."""
        value = self._value.get(key)
        return {each for each in value if type(each) is str} if isinstance(value, list) else set()

    def ties(self) -> Iterator[tuple[str, str]]:
        """Yield the names of tied weights, each with the name of the weight that is stored."""
        for alias, name in self.pairs("shared_params"):
            if type(alias) is str and type(name) is str:
                yield alias, name

    def pairs(self, key: str) -> Pairs:
        """Return a dict; empty if there is none."""
        value = self._value.get(key)
        return value if isinstance(value, Pairs) else Pairs()

    def lists(self, key: str) -> list[Any]:
        """Return a list; raises CorruptCheckpoint if there is none."""
        value = self._value.get(key)
        if not isinstance(value, (list, tuple)) or isinstance(value, Pairs):
            raise CorruptCheckpoint(f"{self.path}: expected a list {key}, as in files of ZeRO")
        return list(value)

    def views(self, key: str, names: Collection[str]) -> Iterator[tuple[str, View]]:
        """Yield the tensors with some names in a dict."""
        for name, view in self.pairs(key):
            if type(name) is str and name in names and isinstance(view, View):
                yield name, self.kept(view)

    def groups(self, key: str) -> list[View]:
        """Return a list of tensors; raises CorruptCheckpoint if it is empty or contains anything else."""
        views = self.lists(key)
        if not views or not all(isinstance(view, View) for view in views):
            raise CorruptCheckpoint(f"{self.path}: {key} is not a list of tensors")
        return [self.kept(view) for view in views]

    def kept(self, view: View) -> View:
        """Return a tensor after checking that its bytes exist, and record its storage.

        Raises:
            FormatError: the tensor is much larger than its storage.
        """
        self.archive.require(view.storage)
        self.held.append(view.storage)
        if math.prod(view.shape) * view.dtype.itemsize > view.storage.nbytes + REPEATED_LIMIT:
            raise FormatError(f"{self.path}: a tensor repeats the {view.storage.nbytes} bytes of its storage")
        return view

    def pieces(self, view: View, start: int, count: int, name: str) -> Iterator[memoryview]:
        """Yield the bytes of a range of a flat tensor; its storage's checksum is verified once.

        Raises:
            CorruptCheckpoint: the checksum does not match.
        """
        if view.storage.key not in self._checked:
            for _ in self.archive.storage(view.storage, name):
                pass
            self._checked.add(view.storage.key)
        size = view.dtype.itemsize
        for piece in self.archive.part(view.storage, name, (view.offset + start) * size, count * size):
            yield memoryview(piece)

    def array(self, view: View, name: str) -> Array:
        """Return a whole tensor; raises the same errors as `pieces`."""
        raw = gathered(self.pieces(view, 0, view.span, name), view.span * view.dtype.itemsize)
        require_truth(TensorSpec(name, view.shape, view.dtype), raw, self.path)
        return view.laid_out(raw)


class Part(NamedTuple):
    """A range of a flat tensor in a file, in elements."""

    saved: Saved
    view: View
    start: int
    size: int


class Flat:
    """Concatenated flat tensors of one dtype."""

    def __init__(self, views: list[tuple[Saved, View]]) -> None:
        """Check that the tensors are flat and have the same dtype.

        Raises:
            CorruptCheckpoint: they are not, or do not.
        """
        self._views = views
        self._where = views[0][0].path
        self.dtype: DType = views[0][1].dtype
        for saved, view in views:
            if not view.whole or view.dtype is not self.dtype:
                raise CorruptCheckpoint(f"{saved.path}: a part of the weights is not flat, or not {self.dtype}")
        self._starts = [0, *accumulate(math.prod(view.shape) for _, view in views)]
        self.size = self._starts[-1]

    def parts(self, name: str, at: int, count: int) -> tuple[Part, ...]:
        """Return the ranges of `count` elements from the position `at`.

        Raises:
            CorruptCheckpoint: there are fewer elements.
        """
        if at + count > self.size:
            raise CorruptCheckpoint(f"{self._where}: {name} ends at number {at + count}, but there are {self.size}")
        found = []
        number = bisect_right(self._starts, at) - 1
        while count:
            begin = at - self._starts[number]
            step = min(count, self._starts[number + 1] - at)
            if step:
                found.append(Part(*self._views[number], begin, step))
            at, count, number = at + step, count - step, number + 1
        return tuple(found)


def shapes_of(saved: Saved, key: str) -> dict[str, Shape]:
    """Return the shapes in a dict by name."""
    return _shapes(saved.path, saved.pairs(key))


def numbers_of(saved: Saved) -> list[dict[str, Shape]]:
    """Return the shapes of each group's weights, in the order in which they are stored."""
    groups = saved.lists("param_shapes")
    if not all(isinstance(group, Pairs) for group in groups):
        raise CorruptCheckpoint(f"{saved.path}: param_shapes is not a list of dicts")
    return [_shapes(saved.path, group) for group in groups]


def _shapes(path: Path, pairs: Pairs) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for name, shape in pairs:
        possible = isinstance(shape, (tuple, list)) and len(shape) <= RANK_LIMIT and all(map(is_size, shape))
        if type(name) is not str or name in found or not possible:
            raise CorruptCheckpoint(f"{path}: a weight is declared by {str(name)[:80]!r} and {str(shape)[:80]}")
        if not is_possible(shape):
            raise CorruptCheckpoint(f"{path}: {name[:80]} has the impossible shape {str(shape)[:80]}")
        found[name] = tuple(shape)
    return found
