"""Edits of values: moving averages, casting, and setting values."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.dtypes import BY_NAME, FLOATS
from ckpttool.core.errors import CkptError, FormatError, PlanError, UnknownName
from ckpttool.core.names import listed
from ckpttool.core.patterns import Pattern
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.edits.edit import (
    Edit,
    EditWithoutValue,
    changed,
    named,
    number,
    require_numbers,
    split_value,
    taken,
)


@dataclass(frozen=True)
class Averages(EditWithoutValue):
    """Use moving averages (EMA) in place of the weights.

    The averages themselves are kept, because the graph's Saver reads them.

    >>> import numpy as np
    >>> names = {"fc/kernel": np.zeros(2), "fc/kernel/ExponentialMovingAverage": np.ones(2), "fc/bias": np.zeros(1)}
    >>> {name: tensor.read().tolist() for name, tensor in Averages().apply(Checkpoint.of(names)).items()}
    {'fc/kernel': [1.0, 1.0], 'fc/kernel/ExponentialMovingAverage': [1.0, 1.0], 'fc/bias': [0.0]}
    """

    name: ClassVar[str] = "ema"

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the averaged weights.

        Raises:
            UnknownName: no slot is an average of a weight.
            PlanError: an average has a different shape or dtype than its weight.
        """
        averages = {owner: slot for slot, owner in ckpt.averages().items()}
        if not averages:
            raise UnknownName(
                "there are no moving averages of weights; where a Saver reads them, they are stored as the weights"
            )
        for owner, slot in averages.items():
            mine, other = ckpt[owner].spec, ckpt[slot].spec
            if (mine.shape, mine.dtype) != (other.shape, other.dtype):
                raise PlanError(f"{slot} is {other.dtype} {list(other.shape)}, {owner} {mine.dtype} {list(mine.shape)}")
        return changed(ckpt, averages, lambda weight: ckpt[averages[weight.name]].renamed(weight.name))


@dataclass(frozen=True)
class EditToDtype(Edit):
    """An edit that changes the dtype of the tensors that a pattern matches, or of the default ones."""

    notation: ClassVar[str] = "[RE=]DTYPE"
    dtype: str
    pattern: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `DTYPE` or `PATTERN=DTYPE`."""
        if text in BY_NAME or "=" not in text:
            return cls(text)
        pattern, dtype = split_value(text, "PATTERN=DTYPE")
        return cls(dtype, pattern)


@dataclass(frozen=True)
class Cast(EditToDtype):
    """Cast the floating-point weights, or what RE matches, to another dtype.

    With `slots`, an optimizer's floats count as weights. Values are rounded to the nearest; a value that the dtype
    cannot represent raises an error when it is read.

    >>> import numpy as np
    >>> before = Checkpoint.of({"fc/kernel": np.array([1.5, 2.0]), "fc/kernel/Adam": np.array([0.5, 0.0])})
    >>> [str(tensor.dtype) for tensor in Cast("float16").apply(before).values()]
    ['float16', 'float64']
    """

    name: ClassVar[str] = "cast"
    slots: bool = False

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors cast.

        Raises:
            UnknownName: the pattern matches nothing, or there are no floats.
            PlanError: a matching tensor does not contain numbers.
            CkptError: the dtype does not exist.
        """
        from ckpttool.core.casting import cast_tensor

        if self.dtype not in BY_NAME:
            raise CkptError(f"no dtype is named {self.dtype!r}{suggestion(self.dtype, BY_NAME)}")
        names = floats(ckpt, self.slots) if self.pattern is None else Pattern(self.pattern).select(named(ckpt))
        for name in names:
            require_numbers(ckpt[name], f"cast to {self.dtype}")
        return changed(ckpt, names, lambda tensor: cast_tensor(tensor, BY_NAME[self.dtype]))


def floats(ckpt: Checkpoint, slots: bool = False) -> list[str]:
    """Return the names of the weights that are floats; with `slots`, also of an optimizer's floats.

    Raises:
        UnknownName: there are none.
    """
    names = [name for name in taken(ckpt, None, slots) if ckpt[name].dtype.name in FLOATS]
    if not names:
        raise UnknownName("there are no floating-point weights")
    return names


@dataclass(frozen=True)
class SetValue(Edit):
    """Replace the values: a number, FILE.npy, FILE.npz:KEY.

    A number for all elements, or an array of the tensor's shape from an `.npy`, or with a `key` from any checkpoint.
    Shape and dtype are kept.

    >>> import numpy as np
    >>> before = Checkpoint.of({"outputs/bias": np.array([1.0, 2.0])})
    >>> SetValue("outputs/bias", 0.5).apply(before)["outputs/bias"].read()
    array([0.5, 0.5])
    >>> SetValue.parse("outputs/bias=w.npz:b").key
    'b'
    """

    name: ClassVar[str] = "set"
    notation: ClassVar[str] = "NAME=VALUE"
    tensor: str
    value: float | Path
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `NAME=0.5`, `NAME=file.npy`, or `NAME=file:key` for a tensor of a checkpoint such as an .npz."""
        name, equals, what = (each.strip() for each in text.partition("="))
        if not (name and equals and what):
            raise PlanError("expected NAME=VALUE, where VALUE is a number, FILE.npy or FILE:KEY")
        if re.fullmatch(r"[-+]?(\d.*|\.\d.*|inf|nan)", what) and ":" not in what and not what.endswith(".npy"):
            return cls(name, number(what))
        file, colon, key = what.partition(":")
        if not colon and not file.endswith(".npy"):
            raise PlanError(f"{what!r} is neither a number nor FILE.npy nor FILE:KEY")
        return cls(name, Path(file), key or None)

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the checkpoint with the new numbers.

        Raises:
            UnknownName: there is no such tensor, or no such key in the file.
            PlanError: the shapes differ, or a tensor does not contain numbers.
            CkptError: the dtype cannot represent the numbers, or the file cannot be read.
        """
        import numpy as np

        from ckpttool.core.casting import cast_array, cast_tensor

        tensor, file = ckpt[self.tensor], checkpoint.open(self.value) if isinstance(self.value, Path) else None
        require_numbers(tensor, "set")
        if file is not None:
            new = file[self.key] if self.key else _only(file)
        else:
            filling = cast_array(tensor.name, np.asarray(self.value), tensor.dtype)
            new = Tensor(tensor.spec, lambda: np.full(tensor.shape, filling))
        require_numbers(new, "selected for another tensor")
        if new.shape != tensor.shape:
            given = f"the value from {self.value} is {list(new.shape)}"
            raise PlanError(f"{self.tensor} is {list(tensor.shape)}, {given}")
        edited = changed(ckpt, [self.tensor], lambda old: cast_tensor(new, old.dtype).renamed(self.tensor))
        return edited if file is None else edited.made_of(ckpt.provenance.with_changes_of(file.provenance))


def _only(file: Checkpoint) -> Tensor:
    """Return the array of an `.npy`.

    Raises:
        FormatError: its elements are not numbers.
    """
    if not file:
        raise FormatError(f"{file.path}: {listed(file.left_out, 1)}")
    return next(iter(file.values()))
