"""Evidence for a verdict: the matrices that moved, the rank and structure of their changes, and elementwise changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ckpttool.core.tensors import Tensor
from ckpttool.surgery.blocks import by_name
from ckpttool.surgery.diff import Diff, TensorChange
from ckpttool.surgery.differing.matrices import matrix_shape
from ckpttool.surgery.differing.one_by_one import Change, one_by_one
from ckpttool.surgery.differing.spectrum import Spectrum, spectrum
from ckpttool.surgery.differing.structure import Structure, structure

MOST_SPECTRA = 12
"""The default maximum number of matrices whose spectra are computed, spread over all."""
ALIKE = 0.1
"""The cosine below which matrices are unrelated; that of two random ones with n numbers is about 1/sqrt(n)."""

MOST = 0.8
"""The fraction of matrices that is considered representative of all."""


@dataclass(frozen=True)
class Spectra:
    """Facts about matrices: the names of those that moved, the spectra of some, and the number of unchanged ones.

    `done` are the elementwise changes of weights, if these explain everything. `structures` are what was done to the
    matrices of `known`, if most of their changes have a structure and are not of low rank.
    """

    matrices: frozenset[str] = frozenset()
    known: Mapping[str, Spectrum] = field(default_factory=dict)
    same: int = 0
    done: frozenset[Change] = frozenset()
    structures: Mapping[str, Structure] = field(default_factory=dict)


def spectra(a: Mapping[str, Tensor], b: Mapping[str, Tensor], diff: Diff, most: int | None = MOST_SPECTRA) -> Spectra:
    """Return the spectra of (at most `most`) matrices that moved and are still related to their former values.

    Raises:
        CorruptCheckpoint: a tensor's checksum does not match.
    """
    moved = [change for change in diff.changed if diff.kinds.get(change.name) == "weight" and change.distance]
    matrices = [change for change in moved if matrix_shape(b[change.name])]
    alike = [change.name for change in matrices if (change.cosine or 0.0) > ALIKE]
    step = 1 if most is None else -(-len(alike) // most) or 1
    found = by_name(alike[::step], lambda name: spectrum(name, a[name], b[name]), [a, b])
    known = {name: each for name, each in found.items() if each is not None}
    done = _done(a, b, [*alike[::step], *(change.name for change in moved if change not in matrices)], moved)
    same = sum(diff.kinds.get(name) == "weight" and matrix_shape(b[name]) is not None for name in diff.same)
    low = [name for name, each in known.items() if each.rank is not None]
    structures = {} if done or len(low) >= MOST * len(known) else _structures(a, b, [*known])
    return Spectra(frozenset(change.name for change in matrices), known, same, done, structures)


def _structures(a: Mapping[str, Tensor], b: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Structure]:
    """Return the structures of changes; empty as soon as too many have none."""
    found: dict[str, Structure] = {}
    without = 0
    for name in names:
        if each := structure(a[name], b[name]):
            found[name] = each
        else:
            without += 1
            if len(names) - without < MOST * len(names):
                return {}
    return found


def _done(
    a: Mapping[str, Tensor], b: Mapping[str, Tensor], first: Sequence[str], moved: Sequence[TensorChange]
) -> frozenset[Change]:
    """Return the elementwise changes of all weights that moved; empty as soon as one was changed differently."""
    found: dict[str, Change] = {}
    for name in dict.fromkeys([*first, *(change.name for change in moved)]):
        change = one_by_one(a[name], b[name])
        if change is None:
            return frozenset()
        found[name] = change
    return frozenset(found.values())
