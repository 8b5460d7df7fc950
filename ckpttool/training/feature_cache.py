"""The feature cache: the cut's tensors for every row of a data set, computed once and kept on disk.

An entry's key is made of content: the frozen weights, the frozen part of the graph, the data and what was done to it.
Nothing that could change the features is left out of it, and nothing else is in it.

With augmentation an entry has several variants of the training rows, one after the other; the validation rows come
last, as they are.
"""

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ckpttool.core.errors import CorruptCheckpoint, GraphError, PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.data.dataset import Split
from ckpttool.data.feature_store import Entry, FeatureStore, cache_key, default_root
from ckpttool.data.fingerprint import fingerprint
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.closure import FrozenPart
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.lineage.records import versions
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.state import State
from ckpttool.training.augment import Augmentation, check_augment
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.features import Features, Place, places

BATCH_BYTES = 32 << 20
"""Bytes of rows that pass through the frozen layers at once."""
SAMPLE = 16
"""Rows that are computed again, from a cache that is whole, to check it against the live graph."""
TOLERANCE = 1e-4
"""How far a cached feature may lie from the live one, relative to the largest: other batch sizes round otherwise."""


@dataclass(frozen=True)
class Estimate:
    """What a fill will cost: bytes on disk, and seconds as measured on the first rows."""

    rows: int
    bytes: int
    seconds: float


class FeatureCache:
    """Fills and finds the features of one frozen part for one data set."""

    def __init__(
        self,
        graph: Graph,
        part: FrozenPart,
        values: Mapping[str, Tensor],
        splits: Sequence[Split],
        augmentation: Augmentation | None = None,
    ) -> None:
        """Take a graph whose frozen part is pinned to inference mode, and the rows to compute it for.

        With an augmentation, the first split is computed in as many variants as it says.

        Raises:
            GraphError: there is nothing to cache, or it is random.
            PlanError: the augmentation does not say how many variants, or its images go past the frozen part too.
        """
        self.part, self.splits, self._augmentation = part, list(splits), augmentation
        self._refuse(graph)
        self._variants = 1 if augmentation is None else self._checked_variants(augmentation)
        self._places = places(self.splits, self._variants)
        self.rows = sum(place.split.rows for place in self._places)
        self._fed = [f"{name}:0" for name in splits[0].inputs]
        function = GraphFunction(graph, part.features, self._fed)
        self._call = runner(function, State(function.variables, values), {})
        self.parts = self._key_parts(graph, values, [variable.name for variable in function.variables])
        self.key = cache_key(self.parts)

    def _refuse(self, graph: Graph) -> None:
        if not self.part.features:
            raise GraphError(
                f"{graph.source}: no frozen layer lies below the trained ones, so there is nothing to cache"
            )
        if self.part.batch_ops:
            ops = ", ".join(self.part.batch_ops[:3])
            raise GraphError(f"{graph.source}: {ops} mix the rows of a batch, so the frozen part can't be cached")
        if self.part.random_ops:
            ops = ", ".join(self.part.random_ops[:3])
            raise GraphError(
                f"{graph.source}: the frozen part is random even in inference mode ({ops}), so it can't be cached"
            )

    def _checked_variants(self, augmentation: Augmentation) -> int:
        check_augment(str(augmentation.augmenter), True, augmentation.variants)
        if f"{augmentation.input}:0" in self.part.direct:
            raise PlanError(
                f"--augment can't be cached: {augmentation.input} goes into the trained layers too; leave out --cache"
            )
        return augmentation.variants or 1

    def _key_parts(self, graph: Graph, values: Mapping[str, Tensor], weights: Sequence[str]) -> dict[str, str]:
        frozen = importable(subgraph(graph, self.part.features, self._fed)).meta.graph_def
        return {
            "graph": hashlib.blake2b(frozen.SerializeToString(deterministic=True)).hexdigest(),
            "tensors": " ".join(self.part.features),
            "weights": " ".join(f"{name}={_digest(values[name])}" for name in sorted(weights)),
            "data": " ".join(fingerprint(split) for split in self.splits),
            **({"augmentation": self._augmentation.facts()} if self._augmentation else {}),
        }

    def open(self, root: str | Path | None, callback: Callback) -> Features:
        """Return the features, computed now unless the cache below `root` has them.

        Raises:
            GraphError: a tensor does not have a row per row of data, or differs from the live graph.
        """
        entry = FeatureStore(Path(root) if root else default_root()).entry(self.key)
        arrays = self._kept(entry, callback)
        hit = arrays is not None
        if arrays is None:
            self._fill(entry, callback)
            arrays = entry.open()
        features = Features(entry, arrays, self.rows, hit, self._variants)
        self._check(features)
        callback.on_cache_ready(features)
        return features

    def _kept(self, entry: Entry, callback: Callback) -> Mapping[str, Array] | None:
        """Return what the cache has, or None where it has nothing whole; damage is told, and filled again."""
        if not entry.is_complete():
            return None
        try:
            return entry.open()
        except CorruptCheckpoint as damage:
            callback.on_cache_damage(damage)
            return None

    def _fill(self, entry: Entry, callback: Callback) -> None:
        size = min(self._batch_rows(), self.rows)
        self.compute(np.arange(size))  # the first call also traces, which is no measure of the rest
        began = time.perf_counter()
        sample = self.compute(np.arange(size))
        seconds = (time.perf_counter() - began) * self.rows / size
        callback.on_cache_estimate(
            Estimate(self.rows, sum(array.nbytes for array in sample.values()) * self.rows // size, seconds)
        )
        shapes = {name: (array.dtype, array.shape[1:]) for name, array in sample.items()}
        with entry.fill(shapes, self.rows, self.parts, versions()) as writer:
            for start in range(writer.resume_row, self.rows, size):
                writer.append(self.compute(np.arange(start, min(start + size, self.rows))))
                callback.on_cache_progress(min(start + size, self.rows), self.rows)
            writer.finish()

    def _batch_rows(self) -> int:
        split = self.splits[0]
        return max(1, BATCH_BYTES // max(1, sum(array.nbytes // split.rows for array in split.inputs.values())))

    def compute(self, rows: Array) -> dict[str, Array]:
        """Compute the features of some rows with the live graph, by tensor name; rows are counted through all places.

        Raises:
            GraphError: a tensor does not have a row for each of them.
        """
        found = self._call({f"{name}:0": self._input(name, rows) for name in self.splits[0].inputs})
        for tensor, array in zip(self.part.features, found, strict=True):
            if array.ndim == 0 or len(array) != len(rows):
                shape = list(array.shape)
                raise GraphError(f"{tensor} is {shape} for {len(rows)} rows: not a row for each, so it can't be cached")
        return dict(zip(self.part.features, found, strict=True))

    def _input(self, name: str, rows: Array) -> Array:
        """Return rows of an input, in ascending order, counted through all splits and variants."""
        parts, start = [], 0
        for place in self._places:
            within = rows[(rows >= start) & (rows < start + place.split.rows)] - start
            if len(within):
                parts.append(self._rows_of(place, name, within))
            start += place.split.rows
        return np.concatenate(parts)

    def _rows_of(self, place: Place, name: str, rows: Array) -> Array:
        """Return rows of an input as one of its variants has them."""
        found: Array = place.split.inputs[name][rows]
        if self._augmentation is None or place.split is not self.splits[0] or name != self._augmentation.input:
            return found
        return self._augmentation.variant(found, place.variant, rows)

    def _differs(self, features: Features, name: str) -> GraphError:
        """Say why the cache is not what the live graph computes; one that was filled just now is taken away."""
        if features.hit:
            return GraphError(f"{features.entry.path}: {name} differs from the live graph; remove that folder")
        shutil.rmtree(features.entry.path)
        return GraphError(f"{name} depends on the other rows of its batch, so it can't be cached")

    def _check(self, features: Features) -> None:
        """Compare rows from all over the cache with the live graph."""
        rows = np.unique(np.linspace(0, self.rows - 1, SAMPLE).astype(int))
        for name, live in self.compute(rows).items():
            scale = max(1.0, float(np.max(np.abs(live), initial=0.0)))
            if not np.allclose(features.arrays[name][rows], live, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
                raise self._differs(features, name)


def _digest(tensor: Tensor) -> str:
    digest = hashlib.blake2b(f"{tensor.dtype} {tensor.shape}".encode(), digest_size=16)
    for piece in tensor.pieces():
        digest.update(piece)
    return digest.hexdigest()
