"""The feature cache: entries are found by key, computed if missing, and checked against the live graph.

The key is a hash of content: the frozen weights, the frozen part of the graph, the data and its preprocessing. It
covers everything that can change the features, and nothing else.
"""

import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, GraphError, MissingFile, PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.data.feature_parts import ServerParts
from ckpttool.data.feature_store import Entry, cache_key
from ckpttool.data.feature_writer import EntryBusy
from ckpttool.data.fingerprint import fingerprint
from ckpttool.data.splits import Split
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.closure import FrozenPart
from ckpttool.graph.freezing.row_cut import cut_below, regroups_rows
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.state import State
from ckpttool.training.augment import Augmentation, check_augment
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.features import Features, blocks
from ckpttool.training.filling import Elsewhere, entry_of, fetched, fill, share
from ckpttool.training.preprocessing import unusual_steps
from ckpttool.training.worker_model import part_facts

WAIT = 0.1
"""Seconds between checks whether another process has filled an entry."""
SAMPLE = 16
"""Number of rows that are recomputed to check an intact entry against the live graph."""
TOLERANCE = 1e-4
"""Tolerance between cached and live features, relative to the largest: batch sizes change the rounding."""


class FeatureCache:
    """Finds or computes the features of one frozen part for one data set."""

    def __init__(
        self,
        graph: Graph,
        part: FrozenPart,
        values: Mapping[str, Tensor],
        splits: Sequence[Split],
        augmentation: Augmentation | None = None,
        known: Sequence[Features] = (),
    ) -> None:
        """Initialise from a graph whose frozen part is in inference mode, and the rows to compute it for.

        With an augmentation, the first split is computed once per variant. `known` are features of the same weights and
        rows at lower layers: what can be computed from these is.

        Raises:
            GraphError: there is nothing to cache, or it is random.
            PlanError: the augmentation has no number of variants, or the trained part reads its images too.
        """
        self.part, self.splits, self._augmentation = part, list(splits), augmentation
        self._refuse(graph)
        self._variants = (augmentation.variants or 1) if augmentation else 1
        self._blocks = blocks(self.splits, self._variants)
        self.rows = sum(block.split.rows for block in self._blocks)
        self._fed = [f"{name}:0" for name in splits[0].inputs]
        self._known = {name: array for each in known if each.rows == self.rows for name, array in each.arrays.items()}
        self._load(graph, values)
        if regroups_rows(graph, part):
            self._cut_by_rows(graph, values)
        self._part_facts = part_facts(self._computed, self.part.features, values, self._weights)
        inputs = splits[0].inputs
        self.row_bytes = sum(array.nbytes // max(1, len(array)) for array in inputs.values())

    def _load(self, graph: Graph, values: Mapping[str, Tensor]) -> None:
        """Build the function that computes the features."""
        function = GraphFunction(graph, self.part.features, self._fed)
        self._computed, self._weights = function.part, [variable.name for variable in function.variables]
        self._below, ops = nearest_below(graph, self.part.features, self._known)
        self._needed = [name for name in self.splits[0].inputs if name in ops]
        if self._below:
            function = GraphFunction(graph, self.part.features, [*self._below, *self._fed])
        self._call = runner(function, State(function.variables, values), {})

    def _cut_by_rows(self, graph: Graph, values: Mapping[str, Tensor]) -> None:
        """Move the cut down to the nearest tensors with one row per example, determined by running two and three rows.

        The ops in between are recomputed while training. If there is no such cut, it stays.
        """
        first = self.part
        while mixed := {name for count in (2, 3) for name in self._mixed(np.arange(min(count, self.rows)))}:
            below = cut_below(graph, self.part, mixed)
            self.part = below if below and below.features else first
            self._load(graph, values)
            if self.part is first:
                return

    def _mixed(self, rows: Array) -> list[str]:
        """Return the features whose first dimension is not the number of rows."""
        outputs = self._outputs(rows).items()
        return [name for name, array in outputs if array.ndim == 0 or len(array) != len(rows)]

    def _outputs(self, rows: Array) -> dict[str, Array]:
        """Compute the features of some rows without checks."""
        below = {name: self._known[name][rows] for name in self._below}
        outputs = self._call({**below, **{f"{name}:0": self._input(name, rows) for name in self._needed}})
        return dict(zip(self.part.features, outputs, strict=True))

    def _refuse(self, graph: Graph) -> None:
        """Raise an error for what cannot be cached."""
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
        if augmentation := self._augmentation:
            check_augment(str(augmentation.augmenter), True, augmentation.variants)
            if f"{augmentation.input}:0" in self.part.direct:
                into = f"{augmentation.input} goes into the trained layers too"
                raise PlanError(f"`augment` can't be cached: {into}; leave out `cache`")

    @cached_property
    def parts(self) -> dict[str, str]:
        """The hashes that the key is made of, by name."""
        return {
            **self._part_facts,
            "data": " ".join(fingerprint(split) for split in self.splits),
            **self._done_to_rows,
        }

    @cached_property
    def key(self) -> str:
        """The key of the features."""
        return cache_key(self.parts)

    def facts(self) -> dict[str, str]:
        """Return what the features depend on, for the manifest: of rows their number and kind, not their content."""
        kinds = [
            f"{name} {array.dtype}{list(array.shape)}" for each in self.splits for name, array in each.inputs.items()
        ]
        return {**self._part_facts, "rows": ", ".join(kinds), **self._done_to_rows}

    @property
    def _done_to_rows(self) -> dict[str, str]:
        return {
            **({"preprocessing": changed} if (changed := unusual_steps(self.splits)) else {}),
            **({"augmentation": self._augmentation.facts()} if self._augmentation else {}),
        }

    def open(self, root: str | Path | None, callback: Callback, elsewhere: Elsewhere | None = None) -> Features:
        """Return the features, from the cache below `root` or computed now; damaged entries are recomputed.

        If `root` is a URL, the entry is stored on that server for all machines, and copied to this one. While another
        process fills the same entry, it is waited for.

        Raises:
            GraphError: a tensor does not have one row per row of data, or differs from the live graph.
        """
        entry, server = entry_of(root, self.key)
        waiting = False
        while True:
            try:
                arrays, hit = self._arrays(entry, server, callback, elsewhere)
                break
            except EntryBusy:
                if not waiting:
                    callback.on_cache_wait(entry.path)
                waiting = True
                time.sleep(WAIT)
        features = Features(entry, arrays, self.rows, hit, self._variants, self.part.direct)
        self._check(features)
        callback.on_cache_ready(features)
        return features

    def _arrays(
        self, entry: Entry, server: ServerParts | None, callback: Callback, elsewhere: Elsewhere | None
    ) -> tuple[dict[str, Any], bool]:
        """Return the arrays of an entry, and whether they were there already."""
        is_damaged = False
        if entry.is_complete() or (server and fetched(entry, server, callback)):
            try:
                arrays = entry.open()
            except CorruptCheckpoint as damage:
                callback.on_cache_damage(damage)
                is_damaged = True
            else:
                if server:
                    share(entry, arrays, server)
                return arrays, True
        fill(self, entry, server, elsewhere, callback, again=is_damaged)
        try:
            return entry.open(), False
        except MissingFile as error:  # another process that had found the damage fills it again
            raise EntryBusy(str(error)) from error

    def compute(self, rows: Array) -> dict[str, Array]:
        """Compute the features of some rows with the live graph, by tensor name; row indices run through all blocks.

        Raises:
            GraphError: a tensor does not have one row per row of data.
        """
        outputs = self._outputs(rows)
        for tensor, array in outputs.items():
            if array.ndim == 0 or len(array) != len(rows):
                shape = list(array.shape)
                given = counted(len(rows), "row")
                raise GraphError(f"{tensor} is {shape} for {given}: not a row for each, so it can't be cached")
        return outputs

    def _input(self, name: str, rows: Array) -> Array:
        """Return rows of an input, in ascending order, augmented as the variants of their blocks."""
        parts, start = [], 0
        for block in self._blocks:
            within = rows[(rows >= start) & (rows < start + block.split.rows)] - start
            if len(within):
                part: Array = block.split.inputs[name][within]
                augmentation = self._augmentation if block.split is self.splits[0] else None
                if augmentation is not None and name == augmentation.input:
                    part = augmentation.variant(part, block.variant, within)
                parts.append(part)
            start += block.split.rows
        return np.concatenate(parts)

    def _check(self, features: Features) -> None:
        """Compare rows spread over the entry with the live graph; an entry just filled is removed if it differs.

        Raises:
            GraphError: a tensor differs.
        """
        rows = np.unique(np.linspace(0, self.rows - 1, SAMPLE).astype(int))
        computed = self.compute(rows)
        for name in {**computed, **features.arrays}:
            live, kept = computed.get(name), features.arrays.get(name)
            if live is not None and kept is not None and self._equal(kept, live, rows):
                continue
            if features.hit:
                raise GraphError(f"{features.entry.path}: {name} differs from the live graph; remove that folder")
            shutil.rmtree(features.entry.path)
            raise GraphError(f"{name} depends on the other rows of its batch, so it can't be cached")

    def _equal(self, kept: Array, live: Array, rows: Array) -> bool:
        """Return whether the stored rows are those of the live graph; a manifest may claim another shape or dtype."""
        if kept.dtype != live.dtype or kept.shape != (self.rows, *live.shape[1:]):
            return False
        scale = max(1.0, float(np.max(np.abs(live), initial=0.0)))
        return bool(np.allclose(kept[rows], live, rtol=0, atol=TOLERANCE * scale, equal_nan=True))


def nearest_below(graph: Graph, tensors: Sequence[str], known: Collection[str]) -> tuple[list[str], set[str]]:
    """Return the nearest known tensors from which others can be computed, and the ops needed for that."""
    others = {TensorRef.parse(name): name for name in known if name not in tensors}
    ops = graph.ancestors(*(TensorRef.parse(name).op for name in tensors), stop=others)
    read = {ref for op in ops for ref in graph.inputs(op)}
    return [name for ref, name in others.items() if ref in read], ops
