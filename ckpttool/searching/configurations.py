"""The objects that a search compares: configurations, blocks of examples on which all are tried, and outcomes.

Each configuration is tried once on each block. A block divides the examples into those to train on and those to
evaluate, and its seed determines the split, the initial values and the order of examples. All configurations use the
same blocks, so that two of them are compared example by example.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.errors import PlanError

FOLDS_BELOW = 2000
"""With fewer labelled examples than this, all of them are evaluated, by cross-validation."""
_PART = re.compile(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?")


@dataclass(frozen=True, order=True)
class Configuration:
    """How much of a model is reused: the first `keep` depths, of which the first `freeze` are frozen.

    >>> Configuration(keep=3, freeze=1).trained
    2
    """

    keep: int
    freeze: int

    def __post_init__(self) -> None:
        """Check that no more depths are frozen than kept, and that neither number is negative."""
        if not 0 <= self.freeze <= self.keep:
            raise PlanError(f"keep {self.keep}, freeze {self.freeze}: what is frozen is among the layers that are kept")

    def __str__(self) -> str:
        """Return its name for people.

        >>> str(Configuration(3, 1)), str(Configuration(0, 0))
        ('keep 3, freeze 1', 'from scratch')
        """
        return f"keep {self.keep}, freeze {self.freeze}" if self.keep else "from scratch"

    @property
    def trained(self) -> int:
        """The number of kept depths that are trained."""
        return self.keep - self.freeze


SCRATCH = Configuration(0, 0)
"""No layer is kept: the network is trained from scratch."""


@dataclass(frozen=True, order=True)
class Block:
    """A division of the rows into those to train on and those to evaluate; without cross-validation the fold is 0.

    A block with fold -1 trains on all selection rows and evaluates the held-out rows, for the final estimate.
    """

    seed: int
    fold: int = 0

    @property
    def is_final(self) -> bool:
        """Whether it evaluates the held-out rows, which are not used for the selection."""
        return self.fold < 0


State = Literal["done", "stopped", "failed"]
"""A `stopped` trial did not run, since its configuration was already hopeless."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a trial: a score in [0, 1] for each evaluated row, in the block's order, and its cost.

    `rows` are the numbers of these rows in the labelled data: the fold of a row differs between seeds.
    `reason` is why the trial was stopped or failed or, if it is done, why its frozen layers were not cached.
    """

    correct: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    seconds: float = 0.0
    epochs: int = 0
    state: State = "done"
    reason: str = ""
    rows: NDArray[np.int64] | None = None

    @property
    def accuracy(self) -> float | None:
        """The mean score of the evaluated rows; None if there are none."""
        return float(self.correct.mean()) if self.state == "done" and self.correct.size else None


Outcomes = Mapping[Configuration, Mapping[Block, Outcome]]
"""The outcomes so far of each configuration that was tried, by block."""


@dataclass(frozen=True)
class Design:
    """How trials are evaluated: by cross-validation (`folds`), or on the validation rows (`rows`), once per seed.

    `rows` is the number of rows that a seed evaluates. The validation rows are the same for all seeds.

    >>> Design.of(labelled=500, seeds=1).blocks
    (Block(seed=0, fold=0), Block(seed=0, fold=1), Block(seed=0, fold=2), Block(seed=0, fold=3), Block(seed=0, fold=4))
    >>> Design.of(labelled=50_000, validation=5_000, seeds=2)
    Design(kind='rows', rows=5000, folds=1, seeds=(0, 1))
    """

    kind: Literal["folds", "rows"]
    rows: int
    folds: int
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, labelled: int, validation: int = 0, seeds: int = 3, folds: int = 5) -> "Design":
        """Return the design for a number of labelled rows, of which `validation` are for validation.

        Raises:
            PlanError: there are fewer rows than folds, fewer than two folds, or no seeds.
        """
        if seeds < 1 or folds < 2:
            raise PlanError(f"`seeds` {seeds}, `folds` {folds}: a search needs a seed and two folds at least")
        numbers = tuple(range(seeds))
        if labelled >= FOLDS_BELOW and validation:
            return cls("rows", validation, 1, numbers)
        if labelled < folds:
            raise PlanError(f"`folds` {folds}: there are {labelled} labelled rows; each fold needs one at least")
        return cls("folds", labelled, folds, numbers)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in the order in which they are tried: the folds of one seed, then those of the next."""
        return tuple(Block(seed, fold) for seed in self.seeds for fold in range(self.folds))


@dataclass(frozen=True)
class Bounds:
    """The depths that may be kept and frozen; None means all. Training from scratch is always tried.

    >>> [(c.keep, c.freeze) for c in Bounds(keep=frozenset({2})).grid(depths=3)]
    [(0, 0), (2, 0), (2, 1), (2, 2)]
    """

    keep: frozenset[int] | None = None
    freeze: frozenset[int] | None = None

    @classmethod
    def parse(cls, depths: int, keep: str | None = None, freeze: str | None = None) -> "Bounds":
        """Parse the bounds for a model with a number of depths from texts such as `1-3,5`.

        Raises:
            PlanError: a text is malformed, a depth does not exist, or no configuration satisfies both.
        """
        kept = None if keep is None else numbers("keep", keep, depths)
        frozen = None if freeze is None else numbers("freeze", freeze, depths)
        if kept is not None and frozen is not None and min(frozen) > max(kept):
            raise PlanError(f"`freeze` {freeze}: only kept layers are frozen, and `keep` {keep} ends below")
        return cls(kept, frozen)

    def above(self, depths: int, misfits: Mapping[int, str]) -> "Bounds":
        """Return bounds without the depths that the head does not fit; `misfits` has the reason for each.

        >>> sorted(Bounds().above(3, {2: "too narrow"}).keep)
        [0, 1, 3]

        Raises:
            PlanError: no depth remains.
        """
        if not misfits:
            return self
        wanted = self.keep if self.keep is not None else frozenset(range(depths + 1))
        left = wanted - misfits.keys()
        if not left - {0} and wanted - {0}:
            number = max(wanted & misfits.keys())
            raise PlanError(f"`keep` leaves no depth that `head` fits: depth {number}, {misfits[number]}")
        return replace(self, keep=left)

    def __contains__(self, configuration: Configuration) -> bool:
        """Return whether a configuration may be tried."""
        kept = self.keep is None or configuration.keep in self.keep
        frozen = self.freeze is None or configuration.freeze in self.freeze
        return configuration == SCRATCH or (kept and frozen)

    def grid(self, depths: int) -> list[Configuration]:
        """Return all permitted configurations of a model with a number of depths, from scratch first."""
        every = (Configuration(keep, freeze) for keep in range(depths + 1) for freeze in range(keep + 1))
        return [configuration for configuration in every if configuration in self]


def numbers(name: str, text: str, largest: int) -> frozenset[int]:
    """Return the numbers in a text such as `1-3,5`.

    >>> sorted(numbers("keep", "1-3,5", largest=5))
    [1, 2, 3, 5]

    Raises:
        PlanError: the text is malformed, a range is empty, or a number is too large; `name` is in the message.
    """
    found: set[int] = set()
    for part in text.split(","):
        if not (match := _PART.fullmatch(part.strip())):
            raise PlanError(
                f"`{name}` {text!r}: expected numbers and ranges, such as 1-3,5; {part.strip()!r} is neither"
            )
        low, high = int(match[1]), int(match[2] or match[1])
        if low > high:
            raise PlanError(f"`{name}` {text!r}: the range {part.strip()} is empty; {high}-{low} is not")
        if high > largest:
            raise PlanError(f"`{name}` {text!r}: there is no depth {high}; the model has {largest}")
        found.update(range(low, high + 1))
    return frozenset(found)
