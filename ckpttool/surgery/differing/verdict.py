"""A verdict: what happened between two checkpoints, in words that a person would say."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ckpttool.core.counts import counted
from ckpttool.core.names import layer_of, listed
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.blocks import by_name
from ckpttool.surgery.diff import Diff, LayerChange, TensorChange
from ckpttool.surgery.differing.matrices import matrix_shape
from ckpttool.surgery.differing.spectrum import LARGEST_RANK, Spectrum, spectrum

MOST_SPECTRA = 12
"""Matrices whose spectra tell enough, spread over all."""
ALIKE = 0.1
"""The cosine below which matrices have nothing in common; of two random ones of n numbers it is about 1/sqrt(n)."""
ROUNDED = 1 / 128
"""How far numbers are moved by rounding to eight bits, the fewest that a dtype of weights has."""
MOST = 0.8
"""The share of matrices that speaks for all."""
SHOWN = 3
_HEAD = re.compile(r"(^|[/._])(head|heads|classifier|logits|outputs?|predictions?|fc|score|top|lm_head)(_\d+)?$")
_STATISTICS = re.compile(r"[/._](moving_mean|moving_variance|running_mean|running_var|num_batches_tracked)$")
Order = Callable[[], Sequence[str]]
"""What gives the names of layers in data-flow order, where that is known and needed."""


@dataclass(frozen=True)
class Verdict:
    """What happened: `kind` is one word or two of those below, `text` says it, `rank` is that of an adapter.

    Kinds: nothing, optimizer, not finite, statistics, dtype, low rank, another seed, head, upper layers, all, some,
    other model.
    """

    kind: str
    text: str
    rank: int | None = None

    @property
    def sentence(self) -> str:
        """The text as a sentence."""
        return f"{self.text[0].upper()}{self.text[1:]}."

    def as_json(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Spectra:
    """What is known of matrices: the names of those that moved, the spectra of some, and how many are the same."""

    matrices: frozenset[str] = frozenset()
    known: Mapping[str, Spectrum] = field(default_factory=dict)
    same: int = 0


def spectra(a: Mapping[str, Tensor], b: Mapping[str, Tensor], diff: Diff, most: int | None = MOST_SPECTRA) -> Spectra:
    """Return the spectra of matrices that moved and still have to do with what they were; of `most` of them.

    Raises:
        CorruptCheckpoint: a tensor's checksum does not match.
    """
    moved = [change for change in diff.changed if diff.kinds.get(change.name) == "weight" and change.distance]
    matrices = [change for change in moved if matrix_shape(b[change.name])]
    alike = [change.name for change in matrices if (change.cosine or 0.0) > ALIKE]
    step = 1 if most is None else -(-len(alike) // most) or 1
    found = by_name(alike[::step], lambda name: spectrum(name, a[name], b[name]), [a, b])
    known = {name: each for name, each in found.items() if each is not None}
    same = sum(diff.kinds.get(name) == "weight" and matrix_shape(b[name]) is not None for name in diff.same)
    return Spectra(frozenset(change.name for change in matrices), known, same)


def verdict(diff: Diff, found: Spectra, order: Order = tuple) -> Verdict:
    """Say what happened.

    Args:
        diff: The difference.
        found: The spectra of matrices in it.
        order: What gives the layers in data-flow order; without it the names tell which one is the head.

    >>> verdict(Diff((), (), (), ("w",)), Spectra()).text
    'nothing moved'
    """
    changed = [change for change in diff.changed if diff.kinds.get(change.name) == "weight"]
    others = [layer for layer in diff.layers if layer.difference in ("only in A", "only in B", "not comparable")]
    if not changed and not others:
        return _without_weights(diff)
    for say in (_broken, _statistics, _dtype, _low_rank, _seed):
        if not others and (said := say(diff, changed, found)):
            return said
    return _by_layers(diff, others, order)


def _without_weights(diff: Diff) -> Verdict:
    if diff.equal:
        return Verdict("nothing", "nothing moved")
    return Verdict("optimizer", "no weight moved: only optimizer slots and step counters differ")


def _broken(_diff: Diff, changed: Sequence[TensorChange], _found: Spectra) -> Verdict | None:
    broken = [change.name for change in changed if change.nan or change.inf]
    if not broken:
        return None
    return Verdict("not finite", f"B has NaN or infinities that A has not, in {listed(broken, SHOWN)}")


def _statistics(_diff: Diff, changed: Sequence[TensorChange], _found: Spectra) -> Verdict | None:
    if not all(_STATISTICS.search(change.name) for change in changed):
        return None
    layers = counted(len({layer_of(change.name) for change in changed}), "layer")
    return Verdict("statistics", f"only statistics of batch normalisation moved, of {layers}")


def _dtype(diff: Diff, changed: Sequence[TensorChange], _found: Spectra) -> Verdict | None:
    whys = list(dict.fromkeys(change.why for change in changed))
    if not all(change.why != "values" and (change.relative_l2 or 0.0) < ROUNDED for change in changed):
        return None
    return Verdict("dtype", f"the same numbers in another dtype: {listed(whys, SHOWN)}")


def _low_rank(diff: Diff, changed: Sequence[TensorChange], found: Spectra) -> Verdict | None:
    known = found.known
    ranks = [each.rank for each in known.values() if each.rank is not None]
    widest = max((each.of for each in known.values()), default=0)
    if not ranks or len(ranks) < MOST * len(known) or (len(ranks) < 2 and widest < LARGEST_RANK):
        return None
    moved = [layer for layer in diff.layers if layer.difference == "moved"]
    of = f"{len(moved)} of {counted(len(diff.layers), 'layer')} moved"
    return Verdict("low rank", f"low rank: looks like an adapter of rank {max(ranks)}; {of}", max(ranks))


def _seed(diff: Diff, changed: Sequence[TensorChange], found: Spectra) -> Verdict | None:
    """Say so where of the matrices' squares most are in some that have nothing to do with what they were."""
    told = [change for change in changed if change.name in found.matrices]
    squares = [(abs(change.cosine or 0.0) < ALIKE, (change.norm or 0.0) ** 2) for change in told]
    apart, of = sum(square for is_apart, square in squares if is_apart), sum(square for _, square in squares)
    if not of or apart < MOST * of or len(told) < MOST * (len(told) + found.same):
        return None
    return Verdict("another seed", "nothing is left of A: looks like a training from another random seed")


def _by_layers(diff: Diff, others: Sequence[LayerChange], order: Order) -> Verdict:
    """Say which layers moved: the head, the upper ones, all, or some."""
    still = [layer.name for layer in diff.layers if layer.difference == "unchanged"]
    moved = [layer for layer in diff.layers if layer.difference != "unchanged"]
    if not diff.changed and not diff.same:
        return Verdict("other model", "nothing in common: no tensor has a counterpart")
    names, beside = [layer.name for layer in moved], "; ".join(_others(others))
    if not still:
        text = f"spread over all {counted(len(moved), 'layer')}{_range(moved)}"
        return Verdict("all", "; ".join(filter(None, [text, beside])))
    flow = list(order())
    above = [name for name in flow if name in names]
    is_top = bool(above) and flow[-len(above) :] == above and len(above) == len(names)
    if (is_top and len(names) == 1) or (not flow and len(names) == 1 and _HEAD.search(names[0])):
        kind, text = "head", f"only the head moved: {names[0]}{_range(moved)}"
    elif is_top:
        kind, text = "upper layers", f"only the upper {len(names)} of {len(flow)} layers moved, from {above[0]} on"
    else:
        kind, text = "some", f"{len(names)} of {counted(len(diff.layers), 'layer')} moved: {listed(names, SHOWN)}"
    return Verdict(kind, "; ".join(filter(None, [text, beside])))


def _others(others: Sequence[LayerChange]) -> Iterator[str]:
    for what in dict.fromkeys(layer.difference for layer in others):
        names = [layer.name for layer in others if layer.difference == what]
        yield f"{counted(len(names), 'layer')} {what}: {listed(names, SHOWN)}"


def _range(moved: Sequence[LayerChange]) -> str:
    """Return how far layers moved."""
    far = [100 * layer.relative_l2 for layer in moved if layer.relative_l2 is not None]
    if not far:
        return ""
    low, high = f"{min(far):.3g}", f"{max(far):.3g}"
    return f", by {high} % of its norm" if len(far) == 1 else f", by {low} % to {high} % of their norms"
