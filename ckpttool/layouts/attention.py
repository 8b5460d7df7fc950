"""Attention with several heads: the projections of query, key and value, and the output's.

Query, key and value are joined in one matrix or split, their heads apart or not.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar, NamedTuple, Self

import numpy as np

from ckpttool.core.calls import WrongValue
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.layouts.forms import Between, Form
from ckpttool.layouts.layout import Shape


class AttentionSizes(NamedTuple):
    """The widths of the model and of all heads together; whether there are biases, and an output projection."""

    width: int
    inner: int
    biased: bool
    output: bool


class Projection(NamedTuple):
    """A kernel `[inputs, outputs]` with its bias, if it has one."""

    kernel: Array
    bias: Array | None


Projections = list[Projection]
"""The projections of query, key and value, then the output's if there is one."""


class AttentionForm(Form[AttentionSizes, Projections]):
    """The form of an attention: kernels, each followed by its bias, if any; the output's last, or omitted."""

    kernels: ClassVar[int] = 3
    """The number of kernels for query, key and value."""
    rank: ClassVar[int] = 2

    @abstractmethod
    def width_and_inner(self, first: Shape) -> tuple[int, int]:
        """Return the two sizes in the first kernel's shape."""

    def sizes(self, shapes: Sequence[Shape]) -> AttentionSizes | None:
        """Return the sizes for which this form has these shapes."""
        if not shapes or len(shapes[0]) != self.rank:
            return None
        biased = len(shapes) > 1 and len(shapes[1]) < len(shapes[0])
        output = len(shapes) > self.kernels * (1 + biased)
        sizes = AttentionSizes(*self.width_and_inner(shapes[0]), biased, output)
        return sizes if self.shapes(sizes) == list(shapes) else None


class Matrices(AttentionForm):
    """Kernels that are matrices: one of query, key and value or three, `[inputs, outputs]` or transposed."""

    turned: ClassVar[bool] = False

    @property
    def parts(self) -> int:
        """The number of query, key and value projections in a kernel."""
        return 3 // self.kernels

    def width_and_inner(self, first: Shape) -> tuple[int, int]:
        """Read the kernel's shape."""
        width, outputs = first[::-1] if self.turned else first
        return width, outputs // self.parts

    def shapes(self, sizes: AttentionSizes) -> list[Shape]:
        """Return the shapes of matrices and vectors."""
        sides = [(sizes.width, self.parts * sizes.inner)] * self.kernels
        sides += [(sizes.inner, sizes.width)] * sizes.output
        both = [(kernel[::-1] if self.turned else kernel, kernel[1:]) for kernel in sides]
        return [shape for pair in both for shape in pair[: 1 + sizes.biased]]

    def read(self, arrays: Sequence[Array]) -> Projections:
        """Split joined projections."""
        projections = [Projection(self._turn(kernel), bias) for kernel, bias in with_biases(arrays)]
        return [*_split(projections[: self.kernels], self.parts), *projections[self.kernels :]]

    def write(self, weights: Projections) -> list[Array]:
        """Join projections."""
        joined = [*_join(weights[:3], self.parts), *weights[3:]]
        return in_turn([Projection(self._turn(kernel), bias) for kernel, bias in joined])

    def _turn(self, kernel: Array) -> Array:
        return kernel.T if self.turned else kernel


def _split(projections: Projections, parts: int) -> Projections:
    """Split each projection along its outputs."""
    parted = []
    for kernel, bias in projections:
        biases = [None] * parts if bias is None else np.split(bias, parts)
        parted += [Projection(*each) for each in zip(np.split(kernel, parts, 1), biases, strict=True)]
    return parted


def _join(projections: Projections, parts: int) -> Projections:
    """Join groups of projections along their outputs."""
    if parts == 1:
        return projections
    kernels, biases = zip(*projections, strict=True)
    return [Projection(np.concatenate(kernels, 1), None if biases[0] is None else np.concatenate(biases))]


def with_biases(arrays: Sequence[Array]) -> Projections:
    """Pair kernels with the following biases, which have fewer dimensions."""
    biased = len(arrays) > 1 and arrays[1].ndim < arrays[0].ndim
    if biased:
        return [Projection(*pair) for pair in zip(arrays[::2], arrays[1::2], strict=True)]
    return [Projection(kernel, None) for kernel in arrays]


def in_turn(projections: Projections) -> list[Array]:
    """Return kernels and biases in turn."""
    return [array for pair in projections for array in pair if array is not None]


class Torch(Matrices):
    """MultiheadAttention: in_proj_weight, in_proj_bias, out_proj."""

    words = "in_proj kernel [3 * inner, width], bias [3 * inner], output kernel [width, inner], bias [width]"
    kernels, turned = 1, True


class TorchSplit(Matrices):
    """Three dense layers of PyTorch, as those of BERT."""

    words = "kernel [inner, width], bias [inner] of query, key, value, output kernel [width, inner], bias [width]"
    turned = True


class Tf1(Matrices):
    """Three dense layers of TensorFlow, as those of BERT."""

    words = "kernel [width, inner], bias [inner] of query, key, value, output kernel [inner, width], bias [width]"


class Tf1Joined(Matrices):
    """One dense layer for all three, as that of GPT-2."""

    words = "joined kernel [width, 3 * inner], bias [3 * inner], output kernel [inner, width], bias [width]"
    kernels = 1


@dataclass(frozen=True)
class Keras(AttentionForm):
    """Keras's MultiHeadAttention, whose kernels have a dimension for the heads."""

    words: ClassVar[str] = (
        "kernel [width, heads, size], bias [heads, size] of query, key, value, "
        "output kernel [heads, size, width], bias [width]"
    )
    rank: ClassVar[int] = 3
    heads: int

    def width_and_inner(self, first: Shape) -> tuple[int, int]:
        """Read the query kernel's shape."""
        return first[0], first[-1] * self.heads

    def shapes(self, sizes: AttentionSizes) -> list[Shape]:
        """Return shapes with the heads apart."""
        if not self.heads or sizes.inner % self.heads:
            raise PlanError(f"attention of {sizes.inner} outputs: expected heads that divide them, found {self.heads}")
        head = (self.heads, sizes.inner // self.heads)
        both: list[tuple[Shape, Shape]] = [((sizes.width, *head), head)] * 3
        both += [((*head, sizes.width), (sizes.width,))] * sizes.output
        return [shape for pair in both for shape in pair[: 1 + sizes.biased]]

    def read(self, arrays: Sequence[Array]) -> Projections:
        """Join the heads."""
        projections = with_biases(arrays)
        inner = [kernel.reshape(len(kernel), prod(kernel.shape[1:])) for kernel, _ in projections[:3]]
        outer = [kernel.reshape(prod(kernel.shape[:-1]), kernel.shape[-1]) for kernel, _ in projections[3:]]
        biases = [None if bias is None else bias.reshape(-1) for _, bias in projections]
        return [Projection(*each) for each in zip([*inner, *outer], biases, strict=True)]

    def write(self, weights: Projections) -> list[Array]:
        """Split the heads."""
        heads = self.heads
        inner = [
            Projection(
                kernel.reshape(len(kernel), heads, kernel.shape[1] // heads),
                None if bias is None else bias.reshape(heads, len(bias) // heads),
            )
            for kernel, bias in weights[:3]
        ]
        outer = [
            Projection(kernel.reshape(heads, len(kernel) // heads, kernel.shape[-1]), bias)
            for kernel, bias in weights[3:]
        ]
        return in_turn([*inner, *outer])


FORMS: dict[str, AttentionForm] = {
    "torch": Torch(),
    "torch_split": TorchSplit(),
    "tf1": Tf1(),
    "tf1_joined": Tf1Joined(),
}


@dataclass(frozen=True)
class Attention(Between):
    """An attention's projections, from one form to another: kernel, bias, kernel, bias, and so on.

    - `torch`: in_proj_weight, in_proj_bias, out_proj.weight, out_proj.bias of a MultiheadAttention
    - `torch_split`: weight and bias of query, key, value and output, as PyTorch's BERT has them
    - `tf1`: kernel and bias of query, key, value and output, as TensorFlow's BERT has them
    - `tf1_joined`: one kernel `[width, 3 * inner]` and its bias, and the output's, as GPT-2 has them
    - `keras`: kernel and bias of query, key, value and attention_output of a MultiHeadAttention; a source's shapes say
      its `heads`, a target needs them

    All biases may be missing, and the output's projection may be left to a rule of its own. Nothing is computed, so
    the way back is exact.

    >>> Attention("torch", "keras", heads=4).shapes([(24, 8), (24,)])
    [(8, 4, 2), (4, 2), (8, 4, 2), (4, 2), (8, 4, 2), (4, 2)]
    """

    name: ClassVar[str] = "attention"
    forms: ClassVar[tuple[str, ...]] = (*FORMS, "keras")
    heads: int = 0

    def __post_init__(self) -> None:
        """Check that Keras's form as a target has a number of heads."""
        super().__post_init__()
        if self.heads < 0 or (self.target == "keras" and not self.heads):
            raise WrongValue("heads", "expected heads=N above 0")

    def fitted(self, shapes: Sequence[Shape]) -> Self:
        """Return the layout with the heads of Keras's query kernel, `[width, heads, size]`."""
        if self.source != "keras" or self.heads or not shapes or len(shapes[0]) != Keras.rank:
            return self
        return replace(self, heads=shapes[0][1])

    def form(self, name: str) -> AttentionForm:
        """Return a form; Keras's with its heads."""
        return Keras(self.heads) if name == "keras" else FORMS[name]
