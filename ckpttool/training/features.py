"""Features: the cached tensors of the rows of a data set, and where in the cache the rows of each split are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.core.tensors import Array
from ckpttool.data.dataset import Split
from ckpttool.data.feature_store import Entry


@dataclass(frozen=True)
class Features:
    """The cached tensors for the rows of several splits, one after the other.

    The first split, that of training, is there in as many `variants`; `rows` counts all.
    """

    entry: Entry
    arrays: Mapping[str, Array]
    rows: int
    hit: bool
    variants: int = 1

    @property
    def nbytes(self) -> int:
        """The size on disk."""
        return sum(array.nbytes for array in self.arrays.values())

    def summary(self) -> dict[str, Any]:
        """Return what `cache --json` prints."""
        found = {"path": str(self.entry.path), "rows": self.rows, "bytes": self.nbytes, "hit": self.hit}
        return found | ({"variants": self.variants} if self.variants > 1 else {})

    def of(self, splits: Sequence[Split], wanted: Split, variant: int = 0) -> dict[str, Array]:
        """Return the features of one of the splits; of the first one, those of a variant, counted from 0."""
        start = 0
        for place in places(splits, self.variants):
            if place.split is wanted and place.variant == (variant if wanted is splits[0] else 0):
                return {name: array[start : start + wanted.rows] for name, array in self.arrays.items()}
            start += place.split.rows
        raise ValueError(f"no features for the split {wanted.name}, variant {variant}")

    def variant_of(self, epoch: int) -> int:
        """Return the variant that an epoch (counted from 1) is trained on: one after the other, over and over."""
        return (epoch - 1) % self.variants


@dataclass(frozen=True)
class Place:
    """Where the rows of a cache come from: a split, and which variant of it."""

    split: Split
    variant: int


def places(splits: Sequence[Split], variants: int) -> list[Place]:
    """Return where rows come from, in the order in which a cache has them."""
    train, *others = splits
    return [*(Place(train, variant) for variant in range(variants)), *(Place(split, 0) for split in others)]
