"""Evidence for the layout of a source's kernels: its ops, then its other kernels, then its framework.

In PyTorch, Caffe and Darknet, a kernel's outputs come first, in TensorFlow, Keras and Flax its inputs; in ONNX, it
depends on the op. The evidence decides if shapes do not, as for square matrices; without any, the layout stays open.
"""

from collections.abc import Collection, Iterable
from functools import cached_property
from typing import Literal, NamedTuple

from ckpttool.checkpoint import Checkpoint
from ckpttool.foreign.readers import Reading
from ckpttool.formats import registry
from ckpttool.formats.format import Arrangement
from ckpttool.layouts.conv import Conv, Depthwise, Grouped, Transposed
from ckpttool.layouts.dense import Dense, Flatten, Pointwise, pointwise
from ckpttool.layouts.layout import Keep, Layout, Shape
from ckpttool.layouts.lite import LiteConv, LiteDepthwise

Kind = Literal["dense", "conv"]
FRAMEWORKS = {
    **dict.fromkeys(("torch", "caffe", "darknet", "tflite"), True),
    **dict.fromkeys(("tensorflow", "keras", "flax"), False),
}
"""Whether the kernels of a framework have their outputs first."""
_WINDOWED = (Conv, Transposed, Depthwise, Grouped, LiteConv, LiteDepthwise)


class CertainLayouts(NamedTuple):
    """The layouts of each kind of kernel, by those whose shape determines it: True if outputs come first."""

    dense: frozenset[bool]
    conv: frozenset[bool]


class Evidence:
    """The evidence in a source about its kernels."""

    def __init__(self, weights: Checkpoint) -> None:
        """Store the source; its ops are read on demand."""
        self._weights = weights

    @cached_property
    def framework(self) -> str | None:
        """The framework that wrote the source."""
        return self._weights.framework

    @cached_property
    def _arrangements(self) -> dict[str, Arrangement]:
        if self._weights.format is None or self._weights.path is None:
            return {}
        said = registry.get(self._weights.format).arrangements(self._weights.path)
        return {name: said[origin] for name, origin in self._origins.items() if origin in said}

    @cached_property
    def _origins(self) -> dict[str, str]:
        return {name: self._weights.origins.get(name, name) for name in self._weights}

    def arrangement(self, name: str) -> Arrangement:
        """Return the arrangement of a tensor by the ops of the source."""
        return self._arrangements.get(name, Arrangement())

    def cells(self, names: Collection[str]) -> list[list[str]]:
        """Return the tensors of each recurrent cell in the source's ops whose tensors are all among `names`."""
        found = dict.fromkeys(source.cell for name in names if (source := self.arrangement(name)).cell)
        return [list(cell) for cell in found if {*cell} <= {*names}]

    def ways(self, name: str, shape: Shape, reading: Reading, target: Shape) -> list[Layout]:
        """Return the layouts by which a tensor can become a variable, by shapes and by the source's ops.

        If neither decides, there are two, the one for outputs first before the other.
        """
        first, channels_first, *_ = self.arrangement(name)
        asked: list[Layout] = []
        if reading.is_known and self.framework == "tflite":
            asked = [_of_lite(reading)]
        elif not reading.is_known:  # it may not be a kernel, which its shape does not show
            asked = [Dense(), Conv(), Keep()] if shape == target and first is not False else [Keep()]
        elif first is None:
            asked = [reading.turning, Keep()]
        else:
            asked = [reading.of_outputs_first(channels_first) if first else reading.of_inputs_first(channels_first)]
        ways = [way for way in dict.fromkeys(asked) if target in way.made_of([shape])]
        if ways or isinstance(reading.turning, Keep):
            return ways
        forms = {None: ("torch", "keras"), True: ("torch",), False: ("keras",)}[first]
        return [way for way in pointwise(shape, target) if way.form in forms]

    def outputs_first(self, kind: Kind, certain: CertainLayouts) -> bool | None:
        """Return whether a kernel of a kind whose shape is ambiguous has its outputs first; None without evidence.

        Other kernels of its kind precede the framework, because those of GPT-2 in PyTorch have TensorFlow's layout.
        Convolutions with inputs first imply the same for dense kernels, and dense kernels with outputs first imply the
        same for convolutions, because no framework combines the former with the latter.
        """
        own, other = (certain.dense, certain.conv) if kind == "dense" else (certain.conv, certain.dense)
        if own:
            return next(iter(own)) if len(own) == 1 else None
        if self.framework in FRAMEWORKS:
            return FRAMEWORKS[self.framework]
        if self.framework == "onnx" and kind == "conv":
            return True
        return kind == "conv" if other == {kind == "conv"} else None


def _of_lite(reading: Reading) -> Layout:
    """Return the layout from TensorFlow Lite's kernel to the graph's; TensorFlow Lite's images have channels last."""
    turning = reading.turning
    if isinstance(turning, Conv | Transposed):
        return LiteConv(isinstance(turning, Transposed))
    if isinstance(turning, Depthwise):
        return LiteDepthwise(turning.multiplier)
    return Keep() if reading.outputs_first else reading.of_outputs_first(channels_first=False)


def certain_layouts(pairs: Iterable[tuple[Reading, list[Layout]]]) -> CertainLayouts:
    """Return the layouts of kernels that fit in only one way, given their readings and the fitting layouts."""
    seen: dict[Kind, set[bool]] = {"dense": set(), "conv": set()}
    for reading, ways in pairs:
        if len(ways) == 1 and not isinstance(reading.turning, Keep):
            seen[kind_of(reading, ways[0])].add(has_outputs_first(ways[0]))
    return CertainLayouts(frozenset(seen["dense"]), frozenset(seen["conv"]))


def has_outputs_first(way: Layout) -> bool:
    """Return whether a layout is for a kernel with its outputs first."""
    return way.form == "torch" if isinstance(way, Pointwise | Flatten) else not isinstance(way, Keep)


def kind_of(reading: Reading, way: Layout) -> Kind:
    """Return the kind of a kernel in the source: a matrix, or one with a window."""
    return "conv" if isinstance(reading.turning, _WINDOWED) and not isinstance(way, Pointwise) else "dense"
