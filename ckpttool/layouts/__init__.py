"""Layouts: how a layer's weights are arranged in another framework, by the kind of layer; each is written as a call."""

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
    """Read `flatten(channels=64)`, `lstm(torch, tf1)` or a plain `dense`.

    >>> parse_layout("lstm(source=torch, target=tf1, forget_bias=0)")
    Lstm(source='torch', target='tf1', forget_bias=0.0)

    Raises:
        PlanError: it is no call, or an option is missing or not valid.
        UnknownName: there is no such layout, or it has no such option.
    """
    return Layout.read(text, "layout")
