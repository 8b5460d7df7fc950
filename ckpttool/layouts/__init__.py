"""Layouts: how a layer's weights are arranged in other frameworks, by kind of layer; each is written as a call."""

from ckpttool.layouts.attention import Attention
from ckpttool.layouts.conv import Conv, Depthwise, Grouped, Transposed
from ckpttool.layouts.dense import Dense, Embedding, Flatten, Pointwise
from ckpttool.layouts.layout import Keep, Layout
from ckpttool.layouts.lite import LiteConv, LiteDepthwise
from ckpttool.layouts.norm import BatchNorm, CaffeBatchNorm, LayerNorm
from ckpttool.layouts.parametrised import Pruned, SpectralNorm, WeightNorm
from ckpttool.layouts.recurrent import Gru, Lstm

__all__ = [
    "Attention",
    "BatchNorm",
    "CaffeBatchNorm",
    "Conv",
    "Dense",
    "Depthwise",
    "Embedding",
    "Flatten",
    "Grouped",
    "Gru",
    "Keep",
    "LayerNorm",
    "Layout",
    "LiteConv",
    "LiteDepthwise",
    "Lstm",
    "Pointwise",
    "Pruned",
    "SpectralNorm",
    "Transposed",
    "WeightNorm",
    "parse_layout",
]


def parse_layout(text: str) -> Layout:
    """Parse a layout such as `flatten(channels=64)`, `lstm(torch, tf1)` or `dense`.

    >>> parse_layout("lstm(source=torch, target=tf1, forget_bias=0)")
    Lstm(source='torch', target='tf1', forget_bias=0.0)

    Raises:
        PlanError: the text is not a call, or an option is missing or invalid.
        UnknownName: the layout or an option does not exist.
    """
    return Layout.read(text, "layout")
