"""Layouts under which nothing moves: a source has the array just as the graph has it."""

from dataclasses import dataclass
from typing import ClassVar

from ckpttool.core.tensors import Array
from ckpttool.foreign.layouts.layout import OneToOne, Shape


@dataclass(frozen=True)
class Keep(OneToOne):
    """The array as it is: whatever Keras and TensorFlow share, and every bias.

    >>> Keep().shapes([(784, 300)])
    [(784, 300)]
    """

    name: ClassVar[str] = "keep"
    source: ClassVar[str] = "one array"
    target: ClassVar[str] = "one array"
    ranks: ClassVar[range] = range(33)

    def shape(self, shape: Shape) -> Shape | None:
        """Return the same shape."""
        return shape if len(shape) in self.ranks else None

    def source_shape(self, shape: Shape) -> Shape | None:
        """Return the same shape."""
        return self.shape(shape)

    def turn(self, array: Array) -> Array:
        """Return the same array."""
        return array

    def turn_back(self, array: Array) -> Array:
        """Return the same array."""
        return array


@dataclass(frozen=True)
class Embedding(Keep):
    """The rows of a vocabulary, `[tokens, width]` everywhere: a dense layer's transpose would be another table."""

    name: ClassVar[str] = "embedding"
    source: ClassVar[str] = "[tokens, width]"
    target: ClassVar[str] = "[tokens, width]"
    ranks: ClassVar[range] = range(2, 3)


@dataclass(frozen=True)
class LayerNorm(Keep):
    """The scale or the shift of a layer normalisation: the same array everywhere, under another name.

    The epsilon belongs to a variance that each row has for itself, so no weights can make up for another one: the
    graph's must be the source's (PyTorch 1e-5, Keras 1e-3, BERT 1e-12).
    """

    name: ClassVar[str] = "layer_norm"
    source: ClassVar[str] = "a scale or a shift"
    target: ClassVar[str] = "a scale or a shift"
    ranks: ClassVar[range] = range(1, 33)
