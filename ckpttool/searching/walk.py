"""The order of trials: the depth with the best score, the chapter's steps, then neighbours of the best two.

The walk is recomputed from its start for each next step, from the known accuracies of configurations. So
an interrupted search resumes as if it had not been interrupted, with any number of workers.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cached_property

from ckpttool.core.counts import counted
from ckpttool.searching.configurations import SCRATCH, Block, Bounds, Configuration, Design
from ckpttool.searching.study import Study

_ANY = Bounds()
_FEWEST = 8
"""All configurations of a grid are tried if there are at most this many."""
Known = Callable[[Configuration], float | None]
"""The mean accuracy of a configuration: None until it is finished, minus infinity if it was stopped or failed."""


@dataclass(frozen=True)
class Walk:
    """The configurations to try, and their order.

    Args:
        depths: The number of depths of the model.
        bounds: The depths that may be kept and frozen.
        ranking: The depths from the best score to the worst, for a frozen trunk; if empty, the walk starts with all
            layers, as in the chapter.
        limit: The maximal number of configurations; None is less than half of all.

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
        """The maximal number of configurations that are tried."""
        every = len(self.every)
        return max((every - 1) // 2, min(every, _FEWEST)) if self.limit is None else self.limit

    def following(self, known: Known) -> list[Configuration]:
        """Return the configurations to try next, together; empty at the end of the walk.

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
        """Return the first configurations: from scratch, all frozen, the chapter's steps, and these with fewer kept."""
        deepest = max(self._kept())
        frozen = next((depth for depth in self.ranking if depth and depth in self._kept()), deepest)
        middle = (deepest + min(frozen, deepest // 2) + 1) // 2
        pairs = [(0, 0), (frozen, frozen), (deepest, frozen), (deepest, 0), (middle, min(frozen, middle)), (middle, 0)]
        return list(dict.fromkeys(self._nearest(keep, freeze) for keep, freeze in pairs))

    @cached_property
    def every(self) -> list[Configuration]:
        """All permitted configurations."""
        return self.bounds.grid(self.depths)

    def _kept(self) -> list[int]:
        """Return the depths that may be kept."""
        return sorted({one.keep for one in self.every})

    def _nearest(self, keep: int, freeze: int) -> Configuration:
        """Return the permitted configuration that is nearest to this one."""
        grid = [one for one in self.every if one.keep or not keep]
        return min(grid, key=lambda one: (abs(one.keep - keep) + abs(one.freeze - freeze), -one.keep), default=SCRATCH)

    def _neighbours(self, tried: dict[Configuration, float]) -> list[Configuration]:
        """Return the untried neighbours of the best, or of the second best, which may only appear worse."""
        order = sorted(tried, key=lambda each: (tried[each], -each.trained, each), reverse=True)
        waves = (self._around(one, tried) for one in order[:2])
        return next((wave for wave in waves if wave), [])

    def _around(self, one: Configuration, tried: Container[Configuration]) -> list[Configuration]:
        """Return the untried neighbours of a configuration: first a quarter of the depths away, then nearer."""
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
    """The strategy of a search: a walk, or all configurations within the bounds."""

    walk: Walk
    grid: bool = False

    def following(self, study: Study, blocks: Sequence[Block]) -> list[Configuration]:
        """Return the configurations to try next, whose outcomes are not yet in the study for all blocks."""

        def known(configuration: Configuration) -> float | None:
            return study.mean(configuration, blocks)

        return everything(self.walk.every, known) if self.grid else self.walk.following(known)

    def extent(self, design: Design) -> str:
        """Describe how much is tried at most."""
        every, blocks = len(self.walk.every), len(design.blocks)
        most = f"{every if self.grid else self.walk.most} of {every} ways to keep and to freeze are tried at most"
        of_rows = f"each on {counted(blocks, 'block')} of rows"
        return f"{most}, {of_rows}; `keep`, `freeze`, `seeds` and `budget` bound that"


def everything(grid: Sequence[Configuration], known: Known) -> list[Configuration]:
    """Return the configurations of a grid that have not been tried.

    >>> everything(Bounds().grid(depths=1), lambda one: None if one.keep else 0.5)
    [Configuration(keep=1, freeze=0), Configuration(keep=1, freeze=1)]
    """
    return [each for each in grid if known(each) is None]
