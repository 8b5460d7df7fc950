"""What a search recommends: the fewest trained layers that are not worse than the best by more than the rope.

That is the thought of the one-standard-error rule (Hastie, Tibshirani and Friedman, The Elements of Statistical
Learning, 7.10) with a probability. Which configuration is the best was found on the same rows, so it may only be lucky:
where another may be better than what would be recommended, by more than the rope, with a probability that is not small,
no recommendation, and how many rows would be enough follows from the standard errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.searching.configurations import SCRATCH, Configuration, Design, Outcomes
from ckpttool.searching.differences import Estimate, Variances, difference

RISK = 0.05
"""How probable it may be that fewer trained layers are worse than the best by more than the rope."""
DOUBT = 0.25
"""How probable it may be that another is better than what is recommended by more than the rope."""
_OF_REACH = 0.344
"""The normal distribution's 75 % quantile against the 97.5 % one, which intervals end at."""
Rivals = Mapping[Configuration, Estimate]
"""How much better others are than one configuration."""


@dataclass(frozen=True)
class Recommendation:
    """What a search found.

    Args:
        best: The configuration that was best on the rows that chose; its accuracy there is optimistic.
        configuration: What is recommended; None where the rows cannot tell.
        why: A sentence.
        tied: Those that are not known to be worse than it (or else than the best) by more than the rope.
        tried: Those that were compared.
        rows: How many judged rows would be enough, where these are not.
        seeds: How many seeds would be, where rows alone would not.
    """

    best: Configuration
    configuration: Configuration | None
    why: str
    tied: tuple[Configuration, ...]
    tried: tuple[Configuration, ...]
    rows: int | None = None
    seeds: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields of this that the search gives as JSON."""
        chosen = self.configuration
        told = {"keep": chosen.keep if chosen else None, "freeze": chosen.freeze if chosen else None, "why": self.why}
        needed = {"rows": self.rows, "seeds": self.seeds} if chosen is None else {}
        return {
            "recommended": {**told, **needed},
            "tied": [{"keep": each.keep, "freeze": each.freeze} for each in self.tied],
        }


def recommend(outcomes: Outcomes, design: Design, depths: int, rope: float = 0.005) -> Recommendation | None:
    """Return what is recommended of the configurations that were tried; None where none was judged.

    What was stopped or failed is not compared.

    Args:
        outcomes: What is known of each configuration.
        design: How they were judged.
        depths: How many layers the model has; from scratch all of them are trained.
        rope: The difference that is as good as none.

    >>> from ckpttool.searching.configurations import Outcome
    >>> rng, design = np.random.default_rng(0), Design.of(labelled=50_000, validation=5_000, seeds=3)
    >>> right = {Configuration(3, freeze): rng.random(5_000) < 0.7 + 0.1 * freeze for freeze in (0, 1, 2)}
    >>> known = {one: {block: Outcome(rows * 1.0) for block in design.blocks} for one, rows in right.items()}
    >>> recommend(known, design, depths=3).configuration
    Configuration(keep=3, freeze=2)
    """
    tried, means = compared(outcomes, design)
    if not tried:
        return None
    trained = {each: depths if each == SCRATCH else each.trained for each in tried}
    best = max(tried, key=lambda each: (means[each], -trained[each], each))
    to_best = against(best, tried, outcomes, design, rope)
    passing = [best, *(each for each in to_best if to_best[each].worse < RISK)]
    chosen = min(passing, key=lambda each: (trained[each], -means[each], each))
    rivals = to_best if chosen == best else against(chosen, tried, outcomes, design, rope)
    tied = tuple(each for each in rivals if rivals[each].worse < 1 - RISK)
    doubtful = {each: found for each, found in rivals.items() if found.better >= DOUBT}
    if doubtful:
        rows, seeds = needed(doubtful, rope)
        why = _why_none(chosen, doubtful, rows, seeds)
        return Recommendation(best, None, why, tied, tuple(tried), rows, seeds)
    why = _why(chosen, best, to_best, trained, rope) + _of_one_seed(rivals, design)
    return Recommendation(best, chosen, why, tied, tuple(tried))


def against(
    one: Configuration, tried: list[Configuration], outcomes: Outcomes, design: Design, rope: float
) -> dict[Configuration, Estimate]:
    """Return how much better each of the others is than a configuration; all of them tell what seeds change.

    >>> against(SCRATCH, [SCRATCH], {SCRATCH: {}}, Design.of(labelled=100), rope=0.005)
    {}
    """
    variances, found = Variances.of({each: outcomes[each] for each in tried}, design), {}
    for each in tried:
        between = variances.between(each, one) if variances else None
        if each != one and (estimate := difference(outcomes[each], outcomes[one], design, rope, between)):
            found[each] = estimate
    return found


def compared(outcomes: Outcomes, design: Design) -> tuple[list[Configuration], dict[Configuration, float]]:
    """Return the configurations that are compared, and their mean accuracies on the blocks that all of them have.

    Those are that were neither stopped nor failed, and have as many blocks as at least half of these have: in a search
    that was interrupted, the block that few have does not count.

    >>> compared({SCRATCH: {}}, Design.of(labelled=100))
    ([], {})
    """
    known = {}
    for each, blocks in outcomes.items():
        if all(outcome.state == "done" for outcome in blocks.values()):
            found = ((block, blocks[block].accuracy) for block in design.blocks if block in blocks)
            known[each] = {block: accuracy for block, accuracy in found if accuracy is not None}
    counts = sorted((len(accuracies) for accuracies in known.values() if accuracies), reverse=True)
    most = counts[(len(counts) - 1) // 2] if counts else 0
    tried = sorted(each for each, accuracies in known.items() if len(accuracies) >= most > 0)
    common = [block for block in design.blocks if all(block in known[each] for each in tried)]
    return tried, {each: float(np.mean([known[each][block] for block in common])) for each in tried}


def needed(doubtful: Rivals, rope: float) -> tuple[int, int | None]:
    """Return how many judged rows, and how many seeds where rows alone would not do, would settle what is in doubt.

    The part that rows have in a standard error falls with the square root of their number, that of seeds with theirs.
    What is asked for is that each rival that lies as far behind as it does would pass.

    >>> rival = Estimate(0.0, -0.0392, 0.0392, 0.4, 0.4, rows_error=0.02, seeds_error=0.0, rows=500, seeds=3)
    >>> needed({Configuration(2, 2): rival}, rope=0.005)
    (3700, None)
    """
    rows = seeds = 0.0
    for pair in doubtful.values():
        reach = _OF_REACH * (pair.high - pair.low) / 2
        lead = max(-pair.mean, 0.0)
        wanted, of_seeds = min(((rope + lead) / reach) ** 2, 1.0), (pair.seeds_error / pair.error) ** 2
        left = max(wanted - of_seeds, wanted / 2)
        rows = max(rows, pair.rows, pair.rows * (1 - of_seeds) / left)
        if of_seeds > wanted / 2:
            seeds = max(seeds, pair.seeds * of_seeds / (wanted / 2))
    return _rounded(rows), ceil(seeds) or None


def _rounded(rows: float) -> int:
    """Return a number of rows in two digits, not below it."""
    unit = int(10 ** max(floor(log10(max(rows, 1))) - 1, 0))
    return ceil(rows / unit) * unit


def _why(
    one: Configuration, best: Configuration, to_best: Rivals, trained: Mapping[Configuration, int], rope: float
) -> str:
    """Say why a configuration is recommended."""
    if one != best:
        return (
            f"{one} trains {_layers(trained[one])}, the best on the selection data, {best}, trains "
            f"{_layers(trained[best])}; it is worse by more than {100 * rope:g} points with a probability of "
            f"{_percent(to_best[one].worse)}"
        )
    rest = (
        "no configuration with fewer trained layers is known to be as good"
        if trained[one]
        else "it trains no kept layer"
    )
    return f"{one} is the best on the selection data, and {rest}"


def _of_one_seed(rivals: Rivals, design: Design) -> str:
    """Say what the probabilities do not have where each configuration was trained once."""
    is_one = design.kind == "rows" and any(found.seeds == 1 for found in rivals.values())
    return "; this is from one random seed: the variation between seeds is not known" if is_one else ""


def _why_none(one: Configuration, doubtful: Rivals, rows: int, seeds: int | None) -> str:
    """Say why no recommendation, and what would help."""
    rival = max(doubtful, key=lambda each: doubtful[each].better)
    pair = doubtful[rival]
    more = f"about {rows:,} judged rows" + (f" and {counted(seeds, 'seed')}" if seeds else "")
    return (
        f"{pair.rows:,} judged rows do not tell {one} from {rival}, which is {_bounded(pair.low):+.1f} to "
        f"{_bounded(pair.high):+.1f} points better: {more} would"
    )


def _layers(count: int) -> str:
    return "no kept layer" if not count else counted(count, "layer")


def _bounded(difference: float) -> float:
    """Return a difference of shares in points of 100, of which there are no more."""
    return 100 * min(max(difference, -1.0), 1.0)


def _percent(share: float) -> str:
    return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"
