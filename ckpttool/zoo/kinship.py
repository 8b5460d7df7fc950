"""Kinship by content: layers of a revision that are identical to layers of others, regardless of names.

A tuned model contains the frozen layers of its base, which have the same hashes in every format and under every name.
A layer matches if one layer of the other model has all of its tensors. Content that unrelated models share, such as a
few numbers, zeros, ones, or ascending integers, is no evidence: layers of only such tensors match only if other layers
of the two models do.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from ckpttool.catalogue.manifest import LARGEST, Manifest, Row
from ckpttool.core.dtypes import BY_NAME, INTEGERS
from ckpttool.core.errors import CkptError
from ckpttool.core.names import listed
from ckpttool.zoo.index import Holder, Index

FEWEST = 16
"""The minimum number of elements of a tensor that counts as evidence; smaller ones coincide by chance."""
MOST_READ = 20
"""The maximum number of older, and of younger, revisions that are examined, best candidates first."""
MOST_NAMED = 6
"""The maximum number of layers named in a sentence."""
_LARGEST, _COUNTED = 64 << 20, 1 << 16
"""The maximum bytes of a tensor tested for being constant, and the maximum elements tested for ascending integers."""
_MOST_AXES = 254
_PIECE = 1 << 20
_ONE = {
    **{f"{sign}int{8 * size}": (1).to_bytes(size, "little") for sign in ("", "u") for size in (1, 2, 4, 8)},
    **{"float16": b"\0\x3c", "bfloat16": b"\x80\x3f", "float32": b"\0\0\x80\x3f", "float64": b"\0\0\0\0\0\0\xf0\x3f"},
}
"""The number one in each dtype, little-endian."""


class Value(NamedTuple):
    """The content of a tensor: its hash, shape and dtype."""

    sha256: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes; 0 for elements of variable length."""
        return self.elements * (BY_NAME[self.dtype].itemsize if self.dtype in BY_NAME else 0)


Layers = Mapping[str, frozenset[Value]]
"""The contents of each layer of a model, by layer name."""


@dataclass(frozen=True)
class Kin:
    """A related revision, whether it is older, and the shared layers with their names in it."""

    name: str
    revision: int
    older: bool
    layers: Mapping[str, str]
    parameters: int

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        names = {"layers": list(self.layers), "there": list(self.layers.values())}
        return {"entry": str(self), "older": self.older, **names, "parameters": self.parameters}


@dataclass(frozen=True)
class Kinship:
    """Revisions that share layers with one, largest share first, and the number of others that share tensors."""

    layers: Sequence[str] = ()
    kin: Sequence[Kin] = ()
    others: int = 0

    def lines(self) -> Iterator[str]:
        """Yield sentences that describe the result."""
        for each in self.kin:
            own, there = list(each.layers), list(each.layers.values())
            be, that = ("is", "that") if len(own) == 1 else ("are", "those")
            of = f"{that} of {each}" if own == there else f"{listed(there, MOST_NAMED)} of {each}"
            yield f"{self._named(own)} {be} {of if each.older else f'in {each}, too'}"
        if self.others:
            has = "revision shares" if self.others == 1 else "revisions share"
            yield f"{self.others} {'more ' if self.kin else ''}{has} tensors with it"

    def _named(self, names: Sequence[str]) -> str:
        """Return a phrase for layers; 'all but' the missing ones if few are missing."""
        missing = [name for name in self.layers if name not in names]
        if not missing and len(names) > 1:
            return f"all {len(names)} layers"
        if len(missing) <= MOST_NAMED // 2 and len(names) > MOST_NAMED:
            return f"all layers but {listed(missing)}"
        return listed(names, MOST_NAMED)


def kinship(manifest: Manifest, index: Index, read: Callable[[str, int], Manifest]) -> Kinship:
    """Find the revisions that share layers with one; candidates of the index are verified with their manifests.

    Layers are attributed to older revisions first, beginning with the one that shares most, as these are their origin.
    The remaining layers are attributed to younger revisions. `read` returns the manifest of a name and revision.
    """
    own = layers_of(manifest)
    telling = _telling(own, index)
    this = Holder(manifest.name, manifest.revision, manifest.created, 0)
    holders = [each for each in index.holding(value.sha256 for value in telling) if each[:2] != this[:2]]
    found, left = list[Kin](), dict(own)
    for older in (True, False):
        some = [each for each in holders if (each.age < this.age) is older][:MOST_READ]
        held = {each: layers for each in some if (layers := _read_layers(each, read))}
        while kin := _best(left, telling, held, older):
            found.append(kin)
            left = {name: values for name, values in left.items() if name not in kin.layers}
    return Kinship(list(own), found, len(holders) - len(found))


def layers_of(manifest: Manifest) -> Layers:
    """Return the contents of each layer of a revision; layers with unknown tensors are skipped."""
    values = {row["name"]: _value(row) for row in manifest.tensors}
    found = dict[str, frozenset[Value]]()
    for row in manifest.layers:
        held = [values.get(name) for name in row.get("variables") or ()]
        if held and None not in held:
            found[row["name"]] = frozenset(each for each in held if each)
    return found


def _value(row: Row) -> Value | None:
    """Return the content of a tensor, or None if its shape is implausible."""
    shape = tuple(row["shape"])
    if len(shape) > _MOST_AXES or prod(shape) > LARGEST:
        return None
    return Value(row["sha256"], shape, row["dtype"])


def _read_layers(holder: Holder, read: Callable[[str, int], Manifest]) -> Layers:
    try:
        return layers_of(read(holder.name, holder.revision))
    except (CkptError, OSError):  # damaged, or removed concurrently
        return {}


def _best(left: Layers, telling: frozenset[Value], held: Mapping[Holder, Layers], older: bool) -> Kin | None:
    """Return the revision that shares most parameters of the remaining layers, or None if none has evidence."""
    best: Kin | None = None
    for holder, theirs in held.items():
        layers = _common(left, telling, theirs)
        size = sum(value.elements for name in layers for value in left[name])
        if layers and (best is None or size > best.parameters):
            best = Kin(holder.name, holder.revision, older, layers, size)
    return best


def _common(own: Layers, telling: frozenset[Value], theirs: Layers) -> dict[str, str]:
    """Return the layers that two models share, with their names in the other; nothing without evidence."""
    places: dict[Value, list[str]] = {}
    for name, values in theirs.items():
        for value in values:
            places.setdefault(value, []).append(name)
    found, told = dict[str, str](), False
    for name, values in own.items():
        tells = values & telling
        there = [name] if values <= theirs.get(name, frozenset()) else []
        there += [each for each in places.get(max(tells), ()) if values <= theirs[each]] if tells else []
        if there:
            found[name], told = there[0], told or bool(tells)
    return found if told else {}


def _telling(own: Layers, index: Index) -> frozenset[Value]:
    """Return the tensors of a model that count as evidence: shared with others, and not by chance."""
    every = {value for values in own.values() for value in values if value.elements >= FEWEST}
    shared = index.shared(value.sha256 for value in every)
    some = [value for value in every if value.sha256 in shared]
    plain = _plain_hashes(some)
    return frozenset(value for value in some if value.sha256 not in plain)


def _plain_hashes(values: Iterable[Value]) -> set[str]:
    """Return the hashes of zeros, ones and ascending integers, for the sizes and dtypes of these tensors."""
    some = [value for value in values if 0 < value.nbytes <= _LARGEST]
    found = _repeated(b"\0", {value.nbytes for value in some})
    for dtype in {value.dtype for value in some} & _ONE.keys():
        found |= _repeated(_ONE[dtype], {value.nbytes for value in some if value.dtype == dtype})
    for value in some:
        if value.dtype in INTEGERS and value.elements <= _COUNTED:
            size = BY_NAME[value.dtype].itemsize
            counted = b"".join((each % 256**size).to_bytes(size, "little") for each in range(value.elements))
            found.add(hashlib.sha256(counted).hexdigest())
    return found


def _repeated(unit: bytes, sizes: Iterable[int]) -> set[str]:
    """Return the hashes of a repeated unit for each size, computed incrementally."""
    piece = unit * (_PIECE // len(unit))
    total, at, found = hashlib.sha256(), 0, set()
    for size in sorted(sizes):
        while at < size:
            step = min(_PIECE, size - at)
            total.update(piece[:step])
            at += step
        found.add(total.hexdigest())
    return found
