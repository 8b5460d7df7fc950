"""Places: a user's specification of a tensor to feed: `X`, `images=IteratorGetNext:0[?,28,28,1]`."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ckpttool.core.errors import PlanError
from ckpttool.core.shapes import PartialShape
from ckpttool.graph.core import TensorRef

_PLACE = re.compile(r"(?:(?P<name>[^=\[\]]+)=)?(?P<tensor>[^=\[\]]+?)(?P<shape>\[[^\[\]]*\])?")
_BETWEEN = re.compile(r",(?![^\[\]]*\])")
"""A comma outside of shapes."""


@dataclass(frozen=True)
class Place:
    """A tensor to feed, with its name for callers and its shape if they are specified.

    >>> Place.parse("images=IteratorGetNext:1[?,8]")
    Place(tensor=TensorRef(op='IteratorGetNext', index=1), name='images', shape=(None, 8))
    >>> Place.parse("X")
    Place(tensor=TensorRef(op='X', index=0), name=None, shape=None)
    """

    tensor: TensorRef
    name: str | None = None
    shape: PartialShape | None = None

    @classmethod
    def parse(cls, text: str, parameter: str = "inputs") -> "Place":
        """Parse `TENSOR` or `NAME=TENSOR`, optionally with a shape in which `?` is an unknown size.

        Raises:
            PlanError: the text has another form.
        """
        match = _PLACE.fullmatch(text.strip())
        sizes = re.findall(r"[^\s,\[\]]+", (match and match["shape"]) or "")
        if match is None or not all(size in ("?", "-1") or size.isdecimal() for size in sizes):
            expected = "expected TENSOR, NAME=TENSOR or either with a shape: 'X[?,28,28,1]'"
            raise PlanError(f"`{parameter}` {text}: {expected}")
        shape = tuple(int(size) if size.isdecimal() else None for size in sizes) if match["shape"] else None
        return cls(TensorRef.parse(match["tensor"].strip()), match["name"] and match["name"].strip(), shape)


def parted(texts: Iterable[str]) -> list[str]:
    """Split texts at commas outside of shapes.

    >>> parted(["X[?,28],y", "z"])
    ['X[?,28]', 'y', 'z']
    """
    return [part.strip() for text in texts for part in _BETWEEN.split(text) if part.strip()]
