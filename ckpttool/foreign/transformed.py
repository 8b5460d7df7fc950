"""Tensors made of others by a layout: computed when they are read, streamed without a second copy."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ckpttool.core.tensors import PIECE, Array, Tensor, TensorSpec
from ckpttool.foreign.layouts.keep import Keep
from ckpttool.foreign.layouts.layout import Layout, Shape

COLUMNS = 32


def applied(layout: Layout, sources: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
    """Return the variables that a layout makes of a source's tensors."""
    shapes = layout.shapes([tensor.shape for tensor in sources])
    return _made(layout, layout.apply, sources, names, shapes)


def inverted(layout: Layout, targets: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
    """Return the source's tensors for the variables that a layout made of them."""
    shapes = layout.source_shapes([tensor.shape for tensor in targets])
    return _made(layout, layout.invert, targets, names, shapes)


def _made(
    layout: Layout,
    change: Callable[[Sequence[Array]], list[Array]],
    tensors: Sequence[Tensor],
    names: Sequence[str],
    shapes: Sequence[Shape],
) -> list[Tensor]:
    if isinstance(layout, Keep):
        return [tensors[0].renamed(names[0])]

    def view(place: int) -> Array:
        return change([tensor.read() for tensor in tensors])[place]

    def made(place: int) -> Tensor:
        spec = TensorSpec(names[place], shapes[place], tensors[0].dtype)
        return Tensor(spec, lambda: _in_order(view(place)), lambda: _pieces(view(place)))

    return [made(place) for place in range(len(names))]


def _pieces(array: Array) -> Iterator[memoryview]:
    """Yield an array's little-endian bytes in C order, a piece at a time, whatever order it lies in."""
    little = array.dtype.newbyteorder("<")
    rows = max(1, PIECE // max(1, array[0].nbytes)) if array.size else 1
    for start in range(0, len(array), rows):
        piece = _in_order(array[start : start + rows]).astype(little, copy=False)
        yield memoryview(piece.reshape(-1).view(np.uint8).data).toreadonly()


def _in_order(array: Array) -> Array:
    """Return an array in C order; what is turned over is copied a few columns at a time, which caches like better."""
    if array.flags.c_contiguous:
        return array
    turned = np.empty(array.shape, array.dtype)
    for start in range(0, array.shape[-1], COLUMNS):
        turned[..., start : start + COLUMNS] = array[..., start : start + COLUMNS]
    return turned
