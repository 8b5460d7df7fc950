"""Features: what a network gives at each of its depths for some rows, as vectors, all computed in one pass.

What has dimensions of space or time is pooled by the mean over these. Very wide vectors are folded: their elements get
random signs and are added up into fewer, which keeps the products of rows but for chance (Charikar et al. 2002, "count
sketch"; Weinberger et al. 2009), so that memory and time stay bounded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.errors import DataError, GraphError
from ckpttool.core.tensors import Array
from ckpttool.data.rows import Rows, chosen
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ELEMENT_BY_ELEMENT, FORMS
from ckpttool.runtime.pooling import vectors
from ckpttool.runtime.streaming import Stream
from ckpttool.searching.depths import Depth
from ckpttool.training.bound import Bound

MEMORY = 1 << 30
"""Bytes of features that are held at once; where there would be more, fewer rows are taken."""
WIDEST = 2048
"""Wider features of as many rows are folded to this width."""
WIDEST_OF_FEW = 16384
"""The same of fewer rows, of which the products are as cheap."""

_SAME_ROWS = ELEMENT_BY_ELEMENT | FORMS | {"Cast"}
_NEAR = 64
"""How many ops are looked through from an input to what looks its numbers up."""
_LOOKUPS = {"Gather", "GatherV2", "ResourceGather", "GatherNd", "OneHot", "LookupTableFindV2"}

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """What a depth gives for the rows: the shape of a row there, how many numbers are left of it, and these by row."""

    depth: Depth
    shape: tuple[int, ...]
    width: int
    vectors: Vectors

    @property
    def pooled(self) -> bool:
        """Whether the vectors are means over space or time."""
        return self.depth.number > 0 and len(self.shape) > 1

    @property
    def folded(self) -> bool:
        """Whether the vectors are narrower than that."""
        return bool(self.vectors.shape[1] < self.width)


class FeaturePass:
    """A pass of rows through a network up to its deepest depth; the depths that give no vectors are `left_out`."""

    def __init__(self, bound: Bound, found: Sequence[Depth]) -> None:
        """Build what computes all depths, and run it on the first rows, which tells the shapes."""
        self.bound, self.left_out = bound, dict[Depth, str]()
        self._arrays: Mapping[str, Rows] = bound.feeds(bound.splits[0])
        self._rows = bound.splits[0].rows
        self._above = [depth for depth in found if depth.number]
        self._stream = self._stream_of(self._above)
        count = min(2, self._rows)
        first = next(self._stream.over({name: rows[:count] for name, rows in self._arrays.items()}, count))[1]
        self._shapes = dict(zip(self._above, (tuple(shape.tolist()) for shape in first[::2]), strict=True))
        self._widths = {depth: int(vector.shape[1]) for depth, vector in zip(self._above, first[1::2], strict=True)}
        for depth, shape in self._shapes.items():
            if shape[:1] != (count,):
                self.left_out[depth] = f"{depth.tensor} has no row for each row"
        if problem := _no_features(bound.model.graph, self._arrays):
            self.left_out[found[0]] = problem
        else:
            self._widths[found[0]] = sum(prod(rows.shape[1:]) for rows in self._arrays.values())
            rows = [array.shape[1:] for array in self._arrays.values()]
            self._shapes[found[0]] = (count, *(rows[0] if len(rows) == 1 else (self._widths[found[0]],)))
        self.notes = [f"depth {depth.number} is skipped: {why}" for depth, why in self.left_out.items()]
        self.depths = [depth for depth in found if depth not in self.left_out]
        if not self.depths:
            raise GraphError(f"{bound.model.graph.source}: {'; '.join(self.left_out.values())}: nothing to score")

    def most_rows(self) -> int:
        """Return of how many rows the features may be held in memory."""
        return max(1, MEMORY // (4 * sum(min(self._widths[depth], WIDEST) for depth in self.depths)))

    def over(self, numbers: Array, progress: Callable[[int, int], None]) -> list[Features]:
        """Return the features of rows of some numbers, which ascend.

        Raises:
            DataError: a feature is no finite number.
        """
        rows = len(numbers)
        arrays = {name: chosen(array, numbers) for name, array in self._arrays.items()}
        folds = {depth: _Fold.of(self._widths[depth], rows) for depth in self.depths}
        found = {depth: np.empty((rows, fold.width), np.float32) for depth, fold in folds.items()}
        for part, values in self._stream.over(arrays, rows):
            computed = dict(zip(self._above, values[1::2], strict=True))
            for depth in self.depths:
                some = computed[depth] if depth.number else _flat(arrays, part)
                self._require_finite(depth, some, numbers[part])
                found[depth][part] = folds[depth](some)
            progress(part.stop, rows)
        return [Features(depth, self._shapes[depth][1:], self._widths[depth], array) for depth, array in found.items()]

    def _stream_of(self, found: Sequence[Depth]) -> Stream:
        graph = self.bound.model.graph
        first = [place for place, depth in enumerate(found) if has_channels_first(graph, depth.tensor)]
        return self.bound.inference([depth.tensor for depth in found], self._arrays, lambda each: vectors(each, first))

    def _require_finite(self, depth: Depth, vectors: Vectors, numbers: Array) -> None:
        wrong = ~np.isfinite(vectors).all(axis=1)
        if wrong.any():
            row = int(self.bound.splits[0].numbers[numbers[int(wrong.argmax())]])
            where = f"{depth.tensor}, behind {depth.layers[-1]}," if depth.layers else depth.tensor
            problem = f"{where} is not finite for row {row}, expected numbers at every depth"
            raise DataError(f"{self.bound.model.path}: {problem}; `stats` counts the weights that are NaN or infinite")


class _Fold:
    """Adds the elements of wide vectors up into fewer, each with a random sign; the same for all rows."""

    def __init__(self, width: int, folded: int) -> None:
        """Take the width of the vectors, and that of the folded ones."""
        self.width = folded
        if folded < width:
            random = np.random.Generator(np.random.PCG64(width))
            self._order = random.permutation(width)
            self._signs = random.choice(np.array([-1, 1], np.float32), width)

    @classmethod
    def of(cls, width: int, rows: int) -> "_Fold":
        """Return what makes vectors as narrow as they must be for so many rows."""
        return cls(width, min(width, WIDEST) if rows > WIDEST or width > WIDEST_OF_FEW else width)

    def __call__(self, wide: Vectors) -> Vectors:
        """Return vectors of the lesser width.

        >>> rows = np.random.default_rng(0).normal(size=(2, 4000)).astype(np.float32)
        >>> folded = _Fold(4000, 1000)(rows)
        >>> folded.shape, bool(abs(folded[0] @ folded[0] / (rows[0] @ rows[0]) - 1) < 0.2)
        ((2, 1000), True)
        """
        if wide.shape[1] == self.width:
            return wide
        mixed = wide[:, self._order] * self._signs
        missing = -mixed.shape[1] % self.width
        parts = np.pad(mixed, [(0, 0), (0, missing)]).reshape(len(wide), -1, self.width)
        summed: Vectors = parts.sum(axis=1)
        return summed


def has_channels_first(graph: Graph, tensor: str) -> bool:
    """Say whether a tensor has its channels before space or time, by the ops that made it."""
    ref = TensorRef.parse(tensor)
    seen: set[str] = set()
    while ref.op not in seen and graph.nodes[ref.op].op not in ("Transpose", "Reshape"):
        seen.add(ref.op)
        node, inputs = graph.nodes[ref.op], graph.inputs(ref.op)
        if "data_format" in node.attr:
            return node.attr["data_format"].s.startswith(b"NC")
        if not inputs:
            break
        ref = inputs[0]
    return False


def _no_features(graph: Graph, arrays: Mapping[str, Rows]) -> str | None:
    """Say why the inputs themselves are no features: texts, or numbers that stand for words; None where they are."""
    for name, rows in arrays.items():
        if rows.dtype.kind not in "biuf":
            return f"{name} takes texts"
        todo = [TensorRef.parse(name).op]
        for op in todo:
            readers = [each for each in graph.consumers.get(op, ()) if each not in todo]
            if any(graph.nodes[each].op in _LOOKUPS for each in readers):
                return f"{name} takes numbers that stand for something else"
            todo += [each for each in readers if graph.nodes[each].op in _SAME_ROWS and len(todo) < _NEAR]
    return None


def _flat(arrays: Mapping[str, Rows], part: slice) -> Vectors:
    """Return all inputs of some rows as one vector for each."""
    parts = (rows[part].astype(np.float32) for rows in arrays.values())
    return np.concatenate([rows.reshape(len(rows), -1) for rows in parts], axis=1)
