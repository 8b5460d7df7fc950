"""Features of frozen parts for the rows of a block: computed once for all rows, of which a block selects its own.

Features of a part are computed from those of the nearest part below that are available, so no pass
goes through layers whose outputs are known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.tensors import Array, Tensor
from ckpttool.data.drawing import Numbers
from ckpttool.data.splits import Split
from ckpttool.graph.core import TensorRef
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.searching.configurations import Block
from ckpttool.searching.rows import SearchRows
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.feature_cache import FeatureCache
from ckpttool.training.features import Features


@dataclass(frozen=True)
class BlockFeatures:
    """The features of the rows that a block trains on and evaluates, selected from those of all rows."""

    choosing: Features
    train: Numbers
    judging: Features
    judged: Numbers
    variants: int = 1

    @property
    def direct(self) -> tuple[str, ...]:
        """The inputs that bypass the frozen layers and are fed in addition to the features."""
        return self.choosing.direct

    def of(self, splits: Sequence[Split], wanted: Split, variant: int = 0) -> dict[str, Array]:
        """Return the features of the training rows, which are the first split, or those of the evaluated rows."""
        source, numbers = (self.choosing, self.train) if wanted is splits[0] else (self.judging, self.judged)
        return {name: array[numbers] for name, array in source.arrays.items()}

    def variant_of(self, epoch: int) -> int:
        """Return the only variant."""
        return 0


class _Key(NamedTuple):
    """The identity of features within a search; a head's tensors have the same names at each depth, hence `top`."""

    tensors: tuple[str, ...]
    top: str | None
    split: str


class FrozenFeatures:
    """The features of the frozen parts of a model for all rows of a search, computed on first use."""

    def __init__(self, weights: Mapping[str, Tensor], rows: SearchRows, folder: str | Path | None) -> None:
        """Store the model's `weights` and the `folder` of caches; nothing is computed yet."""
        self._weights, self._rows, self._folder = weights, rows, folder
        self._features: dict[_Key, Features] = {}

    def of(self, frozen: Frozen, top: str, block: Block) -> BlockFeatures:
        """Return the features of a frozen part for the rows of a block; `top` is the tensor that the head reads."""
        train, judged = self._rows.of_block(block)
        choosing = self._of_all(frozen, top, self._rows.choosing)
        judging = self._of_all(frozen, top, self._rows.held_out) if block.is_final else choosing
        return BlockFeatures(choosing, train, judging, judged)

    def _of_all(self, frozen: Frozen, top: str, split: Split) -> Features:
        if frozen.part is None:
            raise AssertionError("a cache is asked for where layers are frozen")
        key = _Key(frozen.part.features, top if _has_head(frozen, top) else None, split.name)
        if key not in self._features:
            known = [each for other, each in self._features.items() if other.split == split.name and not other.top]
            cache = FeatureCache(frozen.graph, frozen.part, self._weights, [split], known=known)
            self._features[key] = cache.open(self._folder, Callback())
        return self._features[key]


def _has_head(frozen: Frozen, top: str) -> bool:
    """Return whether features are outputs of the head's own layers, such as a pooling."""
    below = frozen.graph.ancestors(TensorRef.parse(top).op)
    return any(TensorRef.parse(name).op not in below for name in frozen.part.features) if frozen.part else False
