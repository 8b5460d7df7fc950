"""Layers that every framework stores in a form of its own: a layout reads one form and writes another."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from ckpttool.core.call_text import nearest
from ckpttool.core.calls import WrongValue
from ckpttool.core.tensors import Array
from ckpttool.layouts.layout import Layout, Shape

Sizes = TypeVar("Sizes")
Weights = TypeVar("Weights")


class Form(ABC, Generic[Sizes, Weights]):
    """The form in which a framework stores a layer as a list of arrays; `words` describe it in messages."""

    words: ClassVar[str]

    @abstractmethod
    def sizes(self, shapes: Sequence[Shape]) -> Sizes | None:
        """Return the layer's sizes, or None if the shapes are not those of this form."""

    @abstractmethod
    def shapes(self, sizes: Sizes) -> list[Shape]:
        """Return the shapes of this form's arrays."""

    @abstractmethod
    def read(self, arrays: Sequence[Array]) -> Weights:
        """Return the weights in the common form, as views."""

    @abstractmethod
    def write(self, weights: Weights) -> list[Array]:
        """Return this form's arrays."""


@dataclass(frozen=True)
class Between(Layout):
    """A layout that converts the form of one framework to that of another."""

    forms: ClassVar[tuple[str, ...]]
    source: str
    target: str

    def __post_init__(self) -> None:
        """Check that both forms exist."""
        for parameter, name in {"source": self.source, "target": self.target}.items():
            if name not in self.forms:
                raise WrongValue(parameter, f"no form {name}{nearest(name, self.forms)}")

    @abstractmethod
    def form(self, name: str) -> Form[Any, Any]:
        """Return a form by its name."""

    def shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the target's form."""
        return self.fitted(shapes)._shapes(self.source, self.target, shapes)

    def source_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """Return the shapes of the source's form."""
        return self._shapes(self.target, self.source, shapes)

    def apply(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the arrays of the target's form."""
        self.shapes([array.shape for array in arrays])
        return self.form(self.target).write(self.form(self.source).read(arrays))

    def invert(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the arrays of the source's form."""
        self.source_shapes([array.shape for array in arrays])
        return self.form(self.source).write(self.form(self.target).read(arrays))

    def _shapes(self, old: str, new: str, shapes: Sequence[Shape]) -> list[Shape]:
        sizes = self.form(old).sizes(shapes)
        if sizes is None:
            raise self.wrong(shapes, f"{old}'s {self.form(old).words}")
        return self.form(new).shapes(sizes)
