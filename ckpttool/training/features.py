"""Features: the tensors at the cut for every row of a data set, stored on disk and fed to the trained part.

With augmentation an entry contains several variants of the training rows in sequence, then the validation rows
without augmentation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ckpttool.core.tensors import Array
from ckpttool.data.feature_store import Entry
from ckpttool.data.splits import Split


class CachedRows(Protocol):
    """Features in place of rows: the training rows in `variants` versions, which epochs use in turn."""

    @property
    def variants(self) -> int:
        """The number of variants of the training rows."""

    @property
    def direct(self) -> tuple[str, ...]:
        """Tensors that bypass the frozen layers and are fed together with the features."""

    def of(self, splits: Sequence[Split], wanted: Split, variant: int = 0) -> dict[str, Array]:
        """Return the features of one of the splits; of the first one, those of a variant, counted from 0."""

    def variant_of(self, epoch: int) -> int:
        """Return the variant that an epoch (counted from 1) trains on."""


@dataclass(frozen=True)
class Features:
    """The cached tensors for the rows of several splits in sequence.

    The first split, for training, is stored in `variants` versions; `rows` counts all of them.
    """

    entry: Entry
    arrays: Mapping[str, Array]
    rows: int
    hit: bool
    variants: int = 1
    direct: tuple[str, ...] = ()
    """Tensors that bypass the frozen layers and are fed together with the features."""

    @property
    def nbytes(self) -> int:
        """The size on disk in bytes."""
        return sum(array.nbytes for array in self.arrays.values())

    def summary(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        facts = {"path": str(self.entry.path), "rows": self.rows, "bytes": self.nbytes, "hit": self.hit}
        return facts | ({"variants": self.variants} if self.variants > 1 else {})

    def of(self, splits: Sequence[Split], wanted: Split, variant: int = 0) -> dict[str, Array]:
        """Return the features of one of the splits; of the first one, those of a variant, counted from 0."""
        start = 0
        for block in blocks(splits, self.variants):
            if block.split is wanted and block.variant == (variant if wanted is splits[0] else 0):
                return {name: array[start : start + wanted.rows] for name, array in self.arrays.items()}
            start += block.split.rows
        raise ValueError(f"no features for the split {wanted.name}, variant {variant}")

    def variant_of(self, epoch: int) -> int:
        """Return the variant that an epoch (counted from 1) trains on: all in turn, repeatedly."""
        return (epoch - 1) % self.variants


@dataclass(frozen=True)
class Block:
    """Consecutive rows of an entry: a split, and the variant of it."""

    split: Split
    variant: int


def blocks(splits: Sequence[Split], variants: int) -> list[Block]:
    """Return the blocks of an entry in order: all variants of the first split, then the other splits."""
    train, *others = splits
    return [*(Block(train, variant) for variant in range(variants)), *(Block(split, 0) for split in others)]
