"""Folding batch normalisations into the layers before them, which does not change the results of inference."""

import re
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.surgery.edits.edit import Edit, number
from ckpttool.surgery.edits.norm_pairs import TENSORFLOW, TORCH, NormPair, found_pairs, given_pairs, is_transposed
from ckpttool.surgery.edits.splitting import refuse_slots, replaced

_OPTION = re.compile(r"(?:^|,)\s*(epsilon|axis)\s*=\s*([^,]+)$")


@dataclass(frozen=True)
class FoldBatchNorm(Edit):
    r"""Fold batch normalisations into the layers before them; CONV=BN names a pair if names do not show it.

    `(.*)conv(\d)=\1bn\2` pairs layers by a pattern and its groups, `epsilon=1e-3` specifies the epsilon if the file
    does not, `axis=1` the output axis of kernels. Kernel and bias are computed in float64: gamma / sqrt(variance +
    epsilon) times the kernel, and times (bias - mean), plus beta. A missing bias is added.

    >>> import numpy as np
    >>> parts = {"weight": 2.0, "bias": 1.0, "running_mean": 3.0, "running_var": 4.0}
    >>> norm = {f"bn1.{part}": np.array([value]) for part, value in parts.items()}
    >>> folded = FoldBatchNorm.parse("epsilon=0").apply(Checkpoint.of({"conv1.weight": np.ones((1, 2, 1, 1)), **norm}))
    >>> {name: tensor.read().ravel().tolist() for name, tensor in folded.items()}
    {'conv1.weight': [1.0, 1.0], 'conv1.bias': [-2.0]}
    """

    name: ClassVar[str] = "fold-batch-norm"
    notation: ClassVar[str] = "[CONV=BN]"
    optional: ClassVar[bool] = True
    layers: str | None = None
    norms: str | None = None
    epsilon: float | None = None
    axis: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `CONV=BN, epsilon=1e-3, axis=1`, each of which may be omitted."""
        given: dict[str, float] = {}
        while match := _OPTION.search(text := text.strip()):
            given[match[1]], text = number(match[2].strip()), text[: match.start()]
        layers, equals, norms = (each.strip() for each in text.partition("="))
        epsilon, axis = given.get("epsilon"), given.get("axis")
        if (text and not (layers and equals and norms)) or (axis is not None and not isinstance(axis, int)):
            raise PlanError("expected no value, or 'CONV=BN, epsilon=1e-3'")
        if epsilon is not None and not epsilon >= 0:
            raise PlanError(f"epsilon is {epsilon:g}, expected a number not below 0")
        return cls(layers or None, norms or None, epsilon, axis if axis is None else int(axis))

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the layers with the normalisations folded into them.

        Raises:
            UnknownName: there is no batch normalisation, or a specified pair does not exist.
            PlanError: it is unclear which layer one follows, or it does not fit, or has slots.
        """
        pairs = self._pairs(ckpt)
        kernels = [pair.kernel for pair in pairs]
        gone = {name: list[Tensor]() for pair in pairs for name in pair.norm.parts.values()}
        biases = {pair.bias for pair in pairs if pair.bias in ckpt}
        refuse_slots(ckpt, [*kernels, *biases, *gone], "folded")
        folded: dict[str, list[Tensor]] = {}
        for pair in pairs:
            kernel, bias = _folded(ckpt, pair, self.axis)
            there = pair.bias in biases
            folded |= {pair.bias: [bias], pair.kernel: [kernel]} if there else {pair.kernel: [kernel, bias]}
        return replaced(ckpt, gone | folded)

    def remarks(self, ckpt: Checkpoint) -> list[str]:
        """Return notes on the folded pairs and, if the file does not contain them, on assumed epsilons and pairings."""
        pairs = self._pairs(ckpt)
        shown = listed([f"{pair.kernel} with {pair.norm.layer}" for pair in pairs], 3)
        by_names = self.layers is None and not any(pair.kind for pair in pairs)
        how = ", paired by their names, assuming that nothing is computed in between" if by_names else ""
        said = [f"{counted(len(pairs), 'batch normalisation')} folded{how}: {shown}"]
        if self.epsilon is None and any(pair.norm.epsilon is None for pair in pairs):
            assumed = _epsilon(next(pair for pair in pairs if pair.norm.epsilon is None))
            said.append(f"epsilon {assumed:g} is assumed, the default, as the file does not specify it; `epsilon` does")
        return said

    def _pairs(self, ckpt: Checkpoint) -> list[NormPair]:
        pairs = given_pairs(ckpt, self.layers, self.norms or "") if self.layers else found_pairs(ckpt)
        if self.epsilon is None:
            return pairs
        return [replace(pair, norm=replace(pair.norm, epsilon=self.epsilon)) for pair in pairs]


def _epsilon(pair: NormPair) -> float:
    """Return the epsilon of a normalisation, else the default of its framework."""
    own = TORCH if pair.norm.is_torch else TENSORFLOW
    return own if pair.norm.epsilon is None else pair.norm.epsilon


def _folded(ckpt: Checkpoint, pair: NormPair, axis: int | None) -> tuple[Tensor, Tensor]:
    """Return a layer's kernel and bias with the normalisation folded into them, computed when they are read."""
    kernel, bias = ckpt[pair.kernel], ckpt.get(pair.bias)
    parts = {part: ckpt[name] for part, name in pair.norm.parts.items()}
    shape, channels = _outputs(kernel, pair, parts["variance"].spec.elements, axis), parts["variance"].shape
    vectors = [*(each for part, each in parts.items() if part != "counter"), *([bias] if bias else [])]
    wrong = [each for each in vectors if each.shape != channels or len(channels) != 1]
    if wrong:
        other = f"{parts['variance'].name}, which is {list(channels)}"
        raise PlanError(
            f"{wrong[0].name} is {list(wrong[0].shape)}, which does not fit {other}: expected vectors of one length"
        )

    def scaled() -> tuple[Array, dict[str, Array]]:
        import numpy as np

        wide = {part: each.read().astype(np.float64) for part, each in parts.items() if part != "counter"}
        inner = wide["variance"] + _epsilon(pair)
        if not (inner > 0).all():
            raise PlanError(
                f"{parts['variance'].name}: {float(inner.min()):g} plus epsilon is not positive, so it has no square "
                "root to divide by"
            )
        return wide.get("gamma", np.ones(channels)) / np.sqrt(inner), wide

    def read_kernel() -> Array:
        from ckpttool.core.casting import cast_array

        return cast_array(kernel.name, kernel.read().astype("float64") * scaled()[0].reshape(shape), kernel.dtype)

    def read_bias() -> Array:
        from ckpttool.core.casting import cast_array

        scale, wide = scaled()
        before = bias.read().astype("float64") if bias else 0.0
        values = (before - wide["mean"]) * scale + wide.get("beta", 0.0)
        return cast_array(pair.bias, values, bias.dtype if bias else kernel.dtype)

    spec = bias.spec if bias else TensorSpec(pair.bias, channels, kernel.dtype)
    return Tensor(kernel.spec, read_kernel), Tensor(spec, read_bias)


def _outputs(kernel: Tensor, pair: NormPair, channels: int, axis: int | None) -> tuple[int, ...]:
    """Return the shape of a vector of the output channels that broadcasts to the kernel.

    Raises:
        PlanError: no output axis of the kernel has this number of channels, or the axis is ambiguous.
    """
    shape, rank = kernel.shape, len(kernel.shape)
    # an input axis may have the same size, if the normalisation precedes its layer: then names must decide
    transposed = is_transposed(kernel.name)
    tried: list[tuple[int, ...]] = (
        [(0,), *([(1,)] if transposed else [])] if pair.norm.is_torch else [(-1,), (-2, -1), (-2,)]
    )
    if pair.kind.endswith("Transpose"):
        tried = [(-2,)]
    elif kernel.name.endswith(("depthwise_kernel", "depthwise_weights")) or pair.kind.startswith("Depthwise"):
        tried = [(-2, -1)]
    elif pair.norm.is_torch and rank > 2 and shape[0] == shape[1] and axis is None and transposed:
        raise PlanError(
            f"{kernel.name} is {list(shape)}, and may be of a transposed convolution: `axis=1` specifies that it is, "
            "`axis=0` that it is not"
        )
    if axis is not None:
        tried = [(axis,)] if -rank <= axis < rank else []
    for axes in tried:
        own = {each % rank for each in axes}
        sizes = [shape[each] for each in sorted(own)]
        if sizes[0] * (sizes[1] if len(sizes) > 1 else 1) == channels and len(own) == len(axes):
            return tuple(size if place in own else 1 for place, size in enumerate(shape))
    given = f"{kernel.name} is {list(shape)}"
    raise PlanError(f"{given}: no axis has the {counted(channels, 'channel')} of {pair.norm.layer}")
