"""Attention with several heads: the projections of query, key and value, and the output's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ckpttool.core.errors import PlanError
from ckpttool.foreign.layouts.attention_forms import AttentionForm, Keras, Tf1, Tf1Joined, Torch, TorchSplit
from ckpttool.foreign.layouts.forms import Between
from ckpttool.foreign.layouts.layout import Shape

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
        """Refuse Keras's form as a target without its heads."""
        super().__post_init__()
        if self.heads < 0 or (self.target == "keras" and not self.heads):
            raise PlanError(f"{self}: expected heads=N above 0")

    def fitted(self, shapes: Sequence[Shape]) -> Self:
        """Return the layout with the heads of Keras's query kernel, `[width, heads, size]`."""
        if self.source != "keras" or self.heads or not shapes or len(shapes[0]) != Keras.rank:
            return self
        return replace(self, heads=shapes[0][1])

    def form(self, name: str) -> AttentionForm:
        """Return a form; Keras's with its heads."""
        return Keras(self.heads) if name == "keras" else FORMS[name]
