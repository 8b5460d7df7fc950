"""Checks of checkpoints: that one is undamaged, and that tensors are equal in two."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool.catalogue.local_files import local
from ckpttool.core.errors import CorruptCheckpoint, UnknownName
from ckpttool.core.patterns import Pattern
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.formats import registry
from ckpttool.formats.reading.unmixed import unmixed
from ckpttool.formats.tensorflow.prefix import prefix_of


@dataclass(frozen=True)
class Damage:
    """A damaged tensor or file."""

    name: str
    why: str


@dataclass(frozen=True)
class Report:
    """The result of a check; `checksums` is whether the format has checksums of values."""

    path: Path
    format: str
    tensors: int
    nbytes: int
    damaged: tuple[Damage, ...]
    checksums: bool = True

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged


@dataclass(frozen=True)
class Unchanged:
    """The tensors with equal bytes in two checkpoints, and the others."""

    same: tuple[str, ...]
    changed: tuple[Damage, ...]

    @property
    def holds(self) -> bool:
        """Whether every tensor is the same."""
        return not self.changed


def verify(path: Path | str) -> Report:
    """Check every checksum and the structure of a checkpoint; the check continues after a damaged tensor.

    A damaged index is reported as one damaged file. Files that are replaced meanwhile are checked again, unless all is
    whole.

    Raises:
        MissingFile: the checkpoint does not exist.
        FormatError: its format is not supported.
        CorruptCheckpoint: it was replaced during every attempt.
    """
    path = local(path)
    return unmixed(path, lambda: _verified(path), lambda report: not report.damaged)


def _verified(path: Path) -> Report:
    reader = registry.find(path)
    has_checksums = reader.has_checksums(path)
    try:
        checked = list(reader.verify(path))
    except CorruptCheckpoint as error:
        return Report(path, reader.NAME, 0, 0, (Damage(str(prefix_of(path)), str(error)),), has_checksums)
    damaged = tuple(Damage(item.name, item.problem) for item in checked if item.problem is not None)
    count, nbytes = len({item.name for item in checked}), sum(item.nbytes for item in checked)
    return Report(path, reader.NAME, count, nbytes, damaged, has_checksums)


def unchanged(a: Mapping[str, Tensor], b: Mapping[str, Tensor], pattern: str) -> Unchanged:
    """Compare the bytes of the tensors of `a` that a pattern matches with those of `b`.

    >>> import numpy as np
    >>> one = {"hidden1/bias": Tensor.of("hidden1/bias", np.zeros(2)), "loss": Tensor.of("loss", np.ones(1))}
    >>> unchanged(one, one, "hidden1").same
    ('hidden1/bias',)

    Raises:
        UnknownName: the pattern matches nothing in `a`.
    """
    names = Pattern(pattern).select(a)
    why = {name: _difference(a[name], b.get(name)) for name in names}
    return Unchanged(
        tuple(name for name in names if why[name] is None),
        tuple(Damage(name, text) for name, text in why.items() if text is not None),
    )


def changed_tensors(a: Mapping[str, Tensor], b: Mapping[str, Tensor], names: Iterable[str]) -> list[str]:
    """Return those of the given names whose dtype, shape or bytes differ between two checkpoints.

    Raises:
        UnknownName: `a` does not have one of them.
    """
    names = list(names)
    for name in names:
        if name not in a:
            raise UnknownName(f"no tensor named {name}{suggestion(name, a)}")
    return [name for name in names if _difference(a[name], b.get(name)) is not None]


def _difference(a: Tensor, b: Tensor | None) -> str | None:
    """Return how two tensors differ, or None."""
    if b is None:
        return "is missing"
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"is {b.dtype} {list(b.shape)}, expected {a.dtype} {list(a.shape)}"
    from ckpttool.surgery.blocks import same_bytes  # with NumPy, which checksums do without

    return None if same_bytes(a, b) else "has other bytes"
