"""Features: the outputs of a network at each of its depths for some rows, as vectors, all computed in one pass.

Spatial and time dimensions are averaged. Very wide vectors are folded: their elements are multiplied by
random signs and summed in groups, which preserves the products of rows in expectation (Charikar et al. 2002, "count
sketch"; Weinberger et al. 2009) and bounds memory and time.
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
"""The largest size in bytes of features in memory; it limits the number of rows."""
WIDEST = 2048
"""Wider features are folded to this width, if there are more rows than this."""
WIDEST_OF_FEW = 16384
"""With fewer rows, only features wider than this are folded, since products of rows are cheap."""

_SAME_ROWS = ELEMENT_BY_ELEMENT | FORMS | {"Cast"}
_NEAR = 64
"""The largest number of ops that are searched from an input for a lookup of its values."""
_LOOKUPS = {"Gather", "GatherV2", "ResourceGather", "GatherNd", "OneHot", "LookupTableFindV2"}

Vectors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Features:
    """The features at a depth: the shape of a row, the number of values after pooling, and the vectors of the rows."""

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
        """Whether the vectors were folded to fewer values."""
        return bool(self.vectors.shape[1] < self.width)


class FeaturePass:
    """A pass of rows through a network up to its deepest depth; `left_out` has the depths without vectors, and why."""

    def __init__(self, bound: Bound, found: Sequence[Depth]) -> None:
        """Build the computation of all depths, and run it on the first rows to determine the shapes."""
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
        """Return the largest number of rows whose features fit in memory."""
        return max(1, MEMORY // (4 * sum(min(self._widths[depth], WIDEST) for depth in self.depths)))

    def over(self, numbers: Array, progress: Callable[[int, int], None]) -> list[Features]:
        """Return the features of the rows with these numbers, in ascending order.

        Raises:
            DataError: a feature is not finite.
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
    """Folds wide vectors: sums groups of elements with random signs, in the same way for all rows."""

    def __init__(self, width: int, folded: int) -> None:
        """Prepare the signs and groups for a width of vectors and of folded vectors."""
        self.width = folded
        if folded < width:
            random = np.random.Generator(np.random.PCG64(width))
            self._order = random.permutation(width)
            self._signs = random.choice(np.array([-1, 1], np.float32), width)

    @classmethod
    def of(cls, width: int, rows: int) -> "_Fold":
        """Return the fold for vectors of a width, which depends on the number of rows."""
        return cls(width, min(width, WIDEST) if rows > WIDEST or width > WIDEST_OF_FEW else width)

    def __call__(self, wide: Vectors) -> Vectors:
        """Return the folded vectors.

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
    """Return whether a tensor has its channels before its spatial or time dimensions, according to its ops."""
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
    """Return why the inputs cannot be used as features, such as texts or token numbers; None if they can."""
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
    """Return all inputs of some rows, concatenated to one vector per row."""
    parts = (rows[part].astype(np.float32) for rows in arrays.values())
    return np.concatenate([rows.reshape(len(rows), -1) for rows in parts], axis=1)
