"""A verdict: a description in words of what happened between two checkpoints."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ckpttool.core.counts import counted
from ckpttool.core.names import layer_of, listed
from ckpttool.surgery.diff import Diff, LayerChange, TensorChange
from ckpttool.surgery.differing.evidence import ALIKE, MOST, Spectra
from ckpttool.surgery.differing.one_by_one import LEVELS, PRUNED, QUANTISED
from ckpttool.surgery.differing.spectrum import LARGEST_RANK

ROUNDED = 1 / 128
"""The relative change by rounding to the narrowest mantissa (bfloat16 has eight bits)."""
SHOWN = 3
BESIDE = 0.02
"""The fraction of a change that may be orthogonal to the weights, due to rounding, if these were scaled."""
_HEAD = re.compile(r"(^|[/._])(head|heads|classifier|logits|outputs?|predictions?|fc|score|top|lm_head)(_\d+)?$")
_STATISTICS = re.compile(r"[/._](moving_mean|moving_variance|running_mean|running_var|num_batches_tracked)$")
_BIAS = re.compile(r"[/._](bias|biases|beta|b)$")
Order = Callable[[], Sequence[str]]
"""A function that returns the names of layers in data-flow order, or nothing if that is unknown."""


@dataclass(frozen=True)
class Verdict:
    """What happened: `kind` is one of those below, `text` describes it, `rank` is that of an adapter.

    Kinds: nothing, optimizer, not finite, statistics, dtype, rounded, quantised, pruned, scaled, scaled rows,
    low rank, rescaled, rotated, vectors, another seed, head, upper layers, all, some, other model.
    """

    kind: str
    text: str
    rank: int | None = None

    @property
    def sentence(self) -> str:
        """The text as a sentence."""
        return f"{self.text[0].upper()}{self.text[1:]}."

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def verdict(diff: Diff, found: Spectra, order: Order = tuple) -> Verdict:
    """Return the verdict on a difference.

    Args:
        diff: The difference.
        found: The spectra of matrices in it.
        order: Returns the layers in data-flow order; without it, the head is identified by its name.

    >>> verdict(Diff((), (), (), ("w",)), Spectra()).text
    'nothing moved'
    """
    changed = [change for change in diff.changed if diff.kinds.get(change.name) == "weight"]
    others = [layer for layer in diff.layers if layer.difference in ("only in A", "only in B", "not comparable")]
    if not changed and not others:
        return _without_weights(diff)
    for say in (_broken, _statistics, _dtype, _one_by_one, _scaled, _low_rank, _structured, _vectors, _seed):
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
    return Verdict("not finite", f"B has NaN or infinities that A does not have, in {listed(broken, SHOWN)}")


def _statistics(_diff: Diff, changed: Sequence[TensorChange], _found: Spectra) -> Verdict | None:
    if not all(_STATISTICS.search(change.name) for change in changed):
        return None
    layers = counted(len({layer_of(change.name) for change in changed}), "layer")
    return Verdict("statistics", f"only statistics of batch normalisation moved, of {layers}")


def _dtype(diff: Diff, changed: Sequence[TensorChange], _found: Spectra) -> Verdict | None:
    whys = list(dict.fromkeys(change.why for change in changed))
    if not all(change.why != "values" and (change.relative_l2 or 0.0) < ROUNDED for change in changed):
        return None
    return Verdict("dtype", f"the same numbers in a different dtype: {listed(whys, SHOWN)}")


def _one_by_one(diff: Diff, changed: Sequence[TensorChange], found: Spectra) -> Verdict | None:
    """Return the verdict if numbers were only rounded, quantised or pruned, else None."""
    if not found.done or any(change.distance is None for change in changed):
        return None
    where = _where(diff)
    if found.done == {PRUNED}:
        return Verdict("pruned", f"numbers became zero, the others are unchanged: in {where}")
    if QUANTISED in found.done:
        return Verdict("quantised", f"the same numbers, quantised to no more than {LEVELS} levels: in {where}")
    return Verdict("rounded", f"the same numbers, rounded to {listed(sorted(found.done - {PRUNED}))}: in {where}")


def _scaled(diff: Diff, changed: Sequence[TensorChange], found: Spectra) -> Verdict | None:
    """Return the verdict if each changed weight is a multiple of its former value, up to rounding, else None."""
    if not found.matrices:
        return None
    factors: list[float] = []
    for change in changed:
        if change.factor is None or change.distance is None or change.norm is None:
            return None
        along = abs(change.factor - 1) * change.norm
        if change.distance**2 - along**2 > (BESIDE * change.distance) ** 2:
            return None
        factors.append(change.factor)
    low, high = (f"{extreme(factors):.4g}" for extreme in (min, max))
    by = low if low == high else f"{low} to {high}"
    like = ", as weight decay alone does" if min(factors) > 0.5 and max(factors) < 1 else ""
    return Verdict("scaled", f"weights were multiplied by {by}{like}: in {_where(diff)}")


def _where(diff: Diff) -> str:
    """Return a description of the layers that moved."""
    moved = [layer.name for layer in diff.layers if layer.difference == "moved"]
    if len(moved) == len(diff.layers):
        return f"all {counted(len(moved), 'layer')}" if len(moved) > 1 else moved[0]
    return f"{len(moved)} of {counted(len(diff.layers), 'layer')}, {listed(moved, SHOWN)}"


def _low_rank(diff: Diff, changed: Sequence[TensorChange], found: Spectra) -> Verdict | None:
    known = {name: each for name, each in found.known.items() if not each.hidden}
    ranks = [each.rank for each in known.values() if each.rank is not None]
    widest = max((each.of for each in known.values()), default=0)
    if not ranks or len(ranks) < MOST * len(known) or (len(ranks) < 2 and widest < LARGEST_RANK):
        return None
    moved = [layer for layer in diff.layers if layer.difference == "moved"]
    of = f"{len(moved)} of {counted(len(diff.layers), 'layer')} moved"
    whole = [layer_of(name) for name, each in known.items() if each.rank is None]
    beside = f"; not of low rank: {listed(whole, SHOWN)}" if whole else ""
    return Verdict("low rank", f"low rank: looks like an adapter of rank {max(ranks)}; {of}{beside}", max(ranks))


def _structured(diff: Diff, _changed: Sequence[TensorChange], found: Spectra) -> Verdict | None:
    """Return the verdict if most matrices were changed as one kind of adapter does, else None."""
    kinds = Counter(each.kind for each in found.structures.values())
    if not kinds or kinds.most_common(1)[0][1] < MOST * len(found.known):
        return None
    kind = kinds.most_common(1)[0][0]
    other = [layer_of(name) for name in found.known if name not in found.structures]
    where = f"in {_where(diff)}{f'; otherwise: {listed(other, SHOWN)}' if other else ''}"
    if kind == "scaled":
        return Verdict("scaled rows", f"rows or columns were multiplied by factors, as IA3 does; {where}")
    if kind == "rotated":
        return Verdict("rotated", f"matrices were multiplied by orthogonal ones, as OFT does; {where}")
    rank = Counter(each.rank for each in found.structures.values() if each.kind == kind).most_common(1)[0][0]
    return Verdict("rescaled", f"low rank and rows rescaled: looks like DoRA of rank {rank}; {where}", rank)


def _vectors(diff: Diff, changed: Sequence[TensorChange], found: Spectra) -> Verdict | None:
    """Return the verdict if biases, or scales of normalisations, of several layers moved and no matrix, else None."""
    moved = [change.name for change in changed if not _STATISTICS.search(change.name)]
    if found.matrices or not found.same or any(change.why != "values" for change in changed):
        return None
    layers = list(dict.fromkeys(map(layer_of, moved)))
    if len(layers) == 1:
        return None
    what = "biases moved" if all(_BIAS.search(name) for name in moved) else "biases or scales moved, no matrix"
    text = f"only {what}: in {len(layers)} of {counted(len(diff.layers), 'layer')}, {listed(layers, SHOWN)}"
    return Verdict("vectors", "; ".join([text, *_of_statistics(_only_statistics(diff))]))


def _seed(diff: Diff, changed: Sequence[TensorChange], found: Spectra) -> Verdict | None:
    """Return the verdict if most of the matrices, by squared norm, are unrelated to their former values, else None."""
    told = [change for change in changed if change.name in found.matrices]
    squares = [(abs(change.cosine or 0.0) < ALIKE, (change.norm or 0.0) ** 2) for change in told]
    apart, of = sum(square for is_apart, square in squares if is_apart), sum(square for _, square in squares)
    if not of or apart < MOST * of or len(told) < MOST * (len(told) + found.same):
        return None
    return Verdict("another seed", "nothing of A remains: looks like training from a different random seed")


def _by_layers(diff: Diff, others: Sequence[LayerChange], order: Order) -> Verdict:
    """Return the verdict on which layers moved: the head, the upper ones, all, or some."""
    statistics = _only_statistics(diff)
    still = [layer.name for layer in diff.layers if layer.difference == "unchanged" or layer.name in statistics]
    moved = [layer for layer in diff.layers if layer.name not in still]
    if not diff.changed and not diff.same:
        return Verdict("other model", "nothing in common: no tensor is in both")
    names, beside = [layer.name for layer in moved], "; ".join([*_others(others), *_of_statistics(statistics)])
    if not still:
        text = f"spread over all {counted(len(moved), 'layer')}{_range(moved)}"
        return Verdict("all", "; ".join(filter(None, [text, beside])))
    flow = list(order())
    above = [name for name in flow if name in names]
    is_top = bool(above) and flow[-len(above) :] == above and len(above) == len(names)
    if (is_top and len(names) == 1) or (not flow and len(names) == 1 and _HEAD.search(names[0])):
        kind, text = "head", f"only the head moved: {names[0]}{_range(moved)}"
    elif is_top:
        kind, text = "upper layers", f"only the upper {len(names)} of {len(flow)} layers moved, from {above[0]} upwards"
    elif names := [layer.name for layer in moved if layer not in others]:
        kind, text = "some", f"{len(names)} of {counted(len(diff.layers), 'layer')} moved: {listed(names, SHOWN)}"
    else:
        return Verdict("some", f"{beside}; the others did not move")
    return Verdict(kind, "; ".join(filter(None, [text, beside])))


def _only_statistics(diff: Diff) -> set[str]:
    """Return the layers in which only statistics of batch normalisation moved, as they do in any training."""
    changes: dict[str, list[bool]] = {}
    for change in diff.changed:
        if diff.kinds.get(change.name) == "weight":
            changes.setdefault(layer_of(change.name), []).append(_STATISTICS.search(change.name) is not None)
    moved = {layer.name for layer in diff.layers if layer.difference == "moved"}
    return {layer for layer, are in changes.items() if layer in moved and all(are)}


def _of_statistics(layers: Collection[str]) -> list[str]:
    return [f"statistics of batch normalisation moved in {counted(len(layers), 'layer')}"] if layers else []


def _others(others: Sequence[LayerChange]) -> Iterator[str]:
    for what in dict.fromkeys(layer.difference for layer in others):
        names = [layer.name for layer in others if layer.difference == what]
        yield f"{counted(len(names), 'layer')} {what}: {listed(names, SHOWN)}"


def _range(moved: Sequence[LayerChange]) -> str:
    """Return a description of how far layers moved."""
    far = [100 * layer.relative_l2 for layer in moved if layer.relative_l2 is not None]
    if not far:
        return ""
    low, high = f"{min(far):.3g}", f"{max(far):.3g}"
    return f", by {high} % of its norm" if len(far) == 1 else f", by {low} % to {high} % of their norms"
