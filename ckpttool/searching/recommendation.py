"""The recommendation of a search: the fewest trained layers that are not worse than the best by more than the rope.

This is the idea of the one-standard-error rule (Hastie, Tibshirani and Friedman, The Elements of Statistical
Learning, 7.10), with a probability. The best configuration was found on the same rows, so it may only be lucky:
if the probability that another is better than the candidate by more than the rope is not small, there is
no recommendation, and the number of rows that would suffice is computed from the standard errors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.searching.configurations import SCRATCH, Configuration, Design, Outcomes
from ckpttool.searching.differences import Variances, difference
from ckpttool.searching.estimates import Estimate

RISK = 0.05
"""The largest accepted probability that fewer trained layers are worse than the best by more than the rope."""
DOUBT = 0.25
"""The largest accepted probability that another configuration is better by more than the rope."""
_OF_REACH = 0.344
"""The ratio of the normal distribution's 75 % quantile to the 97.5 % quantile, at which intervals end."""
Rivals = Mapping[Configuration, Estimate]
"""The differences in accuracy of other configurations to one."""


@dataclass(frozen=True)
class Recommendation:
    """The recommendation of a search.

    Args:
        best: The configuration that was best on the selection rows; its accuracy there is optimistic.
        configuration: The recommended configuration; None if the rows cannot decide.
        why: The reason, a sentence.
        tied: The configurations not known to be worse than it (else, than the best) by more than the rope.
        tried: The configurations that were compared.
        rows: The number of evaluated rows that would suffice, if these do not.
        seeds: The number of seeds that would suffice, if more rows alone do not.
    """

    best: Configuration
    configuration: Configuration | None
    why: str
    tied: tuple[Configuration, ...]
    tried: tuple[Configuration, ...]
    rows: int | None = None
    seeds: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields that are part of the search's JSON."""
        chosen = self.configuration
        told = {"keep": chosen.keep if chosen else None, "freeze": chosen.freeze if chosen else None, "why": self.why}
        needed = {"rows": self.rows, "seeds": self.seeds} if chosen is None else {}
        return {
            "recommended": {**told, **needed},
            "tied": [{"keep": each.keep, "freeze": each.freeze} for each in self.tied],
        }


def recommend(outcomes: Outcomes, design: Design, depths: int, rope: float = 0.005) -> Recommendation | None:
    """Return the recommendation among the configurations that were tried; None if none was evaluated.

    Stopped and failed configurations are not compared.

    Args:
        outcomes: The outcomes of each configuration.
        design: How they were evaluated.
        depths: The number of depths of the model; from scratch, all of them are trained.
        rope: The largest difference that is practically none.

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
    """Return the difference of each other configuration to one; all contribute to the variance between seeds.

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
    """Return the configurations to compare, and their mean accuracies on the blocks that all of them have.

    These are neither stopped nor failed, and have as many blocks as at least half of them: in an interrupted
    search, a block that few configurations have is ignored.

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
    """Return the number of evaluated rows that would decide, and of seeds if rows alone would not suffice, else None.

    The part of a standard error that is due to rows is inversely proportional to the square root of their number,
    likewise for seeds. Each rival must be decided if its difference remains the same.

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
    """Return a number of rows rounded up to two significant digits."""
    unit = int(10 ** max(floor(log10(max(rows, 1))) - 1, 0))
    return ceil(rows / unit) * unit


def _why(
    one: Configuration, best: Configuration, to_best: Rivals, trained: Mapping[Configuration, int], rope: float
) -> str:
    """Return why a configuration is recommended."""
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
    """Return a note about what the probabilities ignore if each configuration was trained once."""
    is_one = design.kind == "rows" and any(found.seeds == 1 for found in rivals.values())
    return "; this is from one random seed: the variation between seeds is not known" if is_one else ""


def _why_none(one: Configuration, doubtful: Rivals, rows: int, seeds: int | None) -> str:
    """Return why there is no recommendation, and what would help."""
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
    """Return a difference of fractions in percentage points, of at most 100."""
    return 100 * min(max(difference, -1.0), 1.0)


def _percent(share: float) -> str:
    return "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"
