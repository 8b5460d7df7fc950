"""The order of trials: from where the scores point, the chapter's walk, then the neighbours of the best two.

The walk is played again from its beginning whenever it is asked what comes next, by what is known of each
configuration. So a search that was interrupted goes on as if it had not been, whatever the number of its workers.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cached_property

from ckpttool.core.counts import counted
from ckpttool.searching.configurations import SCRATCH, Block, Bounds, Configuration, Design
from ckpttool.searching.study import Study

_ANY = Bounds()
_FEWEST = 8
"""Of a grid that is no larger than this, all are tried."""
Known = Callable[[Configuration], float | None]
"""The mean accuracy of a configuration: None where it is not over, minus infinity where it was stopped or failed."""


@dataclass(frozen=True)
class Walk:
    """Which configurations are tried, in which order.

    Args:
        depths: How many layers the model has.
        bounds: What may be kept and frozen.
        ranking: The depths from the best scored to the worst, for a trunk that is all frozen; empty: as the chapter
            does, which begins with all layers.
        limit: How many configurations are tried at most; None is less than half of all.

    >>> walk = Walk(depths=5, ranking=(1, 2, 0, 3, 4, 5))
    >>> [(one.keep, one.freeze) for one in walk.starts()]
    [(0, 0), (1, 1), (5, 1), (5, 0), (3, 1), (3, 0)]
    """

    depths: int
    bounds: Bounds = _ANY
    ranking: Sequence[int] = ()
    limit: int | None = None

    @property
    def most(self) -> int:
        """How many configurations are tried at most."""
        every = len(self.every)
        return max((every - 1) // 2, min(every, _FEWEST)) if self.limit is None else self.limit

    def following(self, known: Known) -> list[Configuration]:
        """Return what is to be tried now, together; nothing where the walk is over.

        >>> [(one.keep, one.freeze) for one in Walk(depths=1).following(lambda one: None)]
        [(0, 0), (1, 1), (1, 0)]
        >>> Walk(depths=1).following(lambda one: 0.5)
        []
        """
        tried: dict[Configuration, float] = {}
        wave = self.starts()[: self.most]
        while wave:
            values = {each: known(each) for each in wave}
            if waiting := [each for each, value in values.items() if value is None]:
                return waiting
            tried.update({each: value for each, value in values.items() if value is not None})
            wave = self._neighbours(tried)[: self.most - len(tried)]
        return []

    def starts(self) -> list[Configuration]:
        """Return where the walk begins: from scratch, all frozen, the chapter's walk, and the same with less kept."""
        deepest = max(self._kept())
        frozen = next((depth for depth in self.ranking if depth and depth in self._kept()), deepest)
        middle = (deepest + min(frozen, deepest // 2) + 1) // 2
        pairs = [(0, 0), (frozen, frozen), (deepest, frozen), (deepest, 0), (middle, min(frozen, middle)), (middle, 0)]
        return list(dict.fromkeys(self._nearest(keep, freeze) for keep, freeze in pairs))

    @cached_property
    def every(self) -> list[Configuration]:
        """All that may be tried."""
        return self.bounds.grid(self.depths)

    def _kept(self) -> list[int]:
        """Return the depths that may be kept."""
        return sorted({one.keep for one in self.every})

    def _nearest(self, keep: int, freeze: int) -> Configuration:
        """Return what is nearest to a configuration of what may be tried."""
        grid = [one for one in self.every if one.keep or not keep]
        return min(grid, key=lambda one: (abs(one.keep - keep) + abs(one.freeze - freeze), -one.keep), default=SCRATCH)

    def _neighbours(self, tried: dict[Configuration, float]) -> list[Configuration]:
        """Return the untried neighbours of the best; where there are none, of the next, which may only look worse."""
        order = sorted(tried, key=lambda each: (tried[each], -each.trained, each), reverse=True)
        waves = (self._around(one, tried) for one in order[:2])
        return next((wave for wave in waves if wave), [])

    def _around(self, one: Configuration, tried: Container[Configuration]) -> list[Configuration]:
        """Return the untried neighbours of a configuration, first at a quarter of the depths, then nearer."""
        keeps, freezes = self._kept(), sorted({each.freeze for each in self.every})
        keep, freeze = keeps.index(one.keep), freezes.index(one.freeze)
        step = max(self.depths // 4, 1)
        while step:
            moves = ((step, 0), (0, step), (-step, 0), (0, -step), (step, step), (-step, -step))
            places = [(keep + more, freeze + frozen) for more, frozen in moves]
            near = [(keeps[k], freezes[j]) for k, j in places if 0 <= k < len(keeps) and 0 <= j < len(freezes)]
            allowed = [Configuration(*each) for each in near if each[1] <= each[0]]
            if wave := [each for each in allowed if each in self.bounds and each not in tried]:
                return wave
            step //= 2
        return []


@dataclass(frozen=True)
class Ways:
    """What a search tries: a walk, or all that its bounds allow."""

    walk: Walk
    grid: bool = False

    def following(self, study: Study, blocks: Sequence[Block]) -> list[Configuration]:
        """Return what is to be tried now of what a study does not know of all blocks yet."""

        def known(configuration: Configuration) -> float | None:
            return study.mean(configuration, blocks)

        return everything(self.walk.every, known) if self.grid else self.walk.following(known)

    def said(self, design: Design) -> str:
        """Say how much is tried at most."""
        every, blocks = len(self.walk.every), len(design.blocks)
        most = f"{every if self.grid else self.walk.most} of {every} ways to keep and to freeze are tried at most"
        of_rows = f"each on {counted(blocks, 'block')} of rows"
        return f"{most}, {of_rows}; `keep`, `freeze`, `seeds` and `budget` bound that"


def everything(grid: Sequence[Configuration], known: Known) -> list[Configuration]:
    """Return what is left to be tried of all configurations.

    >>> everything(Bounds().grid(depths=1), lambda one: None if one.keep else 0.5)
    [Configuration(keep=1, freeze=0), Configuration(keep=1, freeze=1)]
    """
    return [each for each in grid if known(each) is None]
