"""Attention with several heads: the projections of query, key and value, and the output's."""

from dataclasses import dataclass
from typing import ClassVar

from ckpttool.errors import PlanError
from ckpttool.foreign.layouts.attention_forms import AttentionForm, Keras, Tf1, Tf1Joined, Torch, TorchSplit
from ckpttool.foreign.layouts.forms import Between

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
    - `keras`: kernel and bias of query, key, value and attention_output of a MultiHeadAttention; it needs `heads`

    All biases may be missing, and the output's projection may be left to a rule of its own. Nothing is computed, so
    the way back is exact.

    >>> Attention("torch", "keras", heads=4).shapes([(24, 8), (24,)])
    [(8, 4, 2), (4, 2), (8, 4, 2), (4, 2), (8, 4, 2), (4, 2)]
    """

    name: ClassVar[str] = "attention"
    forms: ClassVar[tuple[str, ...]] = (*FORMS, "keras")
    heads: int = 0

    def __post_init__(self) -> None:
        """Refuse Keras's form without its heads."""
        super().__post_init__()
        if self.heads < 0 or ("keras" in (self.source, self.target) and not self.heads):
            raise PlanError(f"{self}: expected heads=N above 0")

    def form(self, name: str) -> AttentionForm:
        """Return a form; Keras's with its heads."""
        return Keras(self.heads) if name == "keras" else FORMS[name]
