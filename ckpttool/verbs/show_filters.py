"""Show filters: draw the weights of a layer as images, one per unit or filter."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.surgery.filters import Filters, columns_of, mosaic, shades
from ckpttool.training.callbacks.plot import DOTS_PER_INCH, Picture
from ckpttool.verbs.show_filters_kernel import KernelSource

TILE, GAP = 64, 3
"""The approximate minimum side of an image in pixels, and the gap between images."""
NARROWEST, ASIDE, HEADING = 4.0, 0.5, 0.6
"""Inches: the width of the figure, and the margins beside and above the images."""


@dataclass(frozen=True)
class Drawn:
    """The result: what was drawn, and of which kernel."""

    path: Path
    name: str
    filters: Filters

    def row(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        found = self.filters
        return {
            "path": str(self.path),
            "tensor": self.name,
            "units": found.units,
            "shown": len(found.tiles),
            "left_out": found.left_out,
            "tile": list(found.tiles.shape[1:]),
        }

    def lines(self) -> Iterator[str]:
        """Yield lines of text."""
        rest = f"; {self.filters.left_out} are not shown" if self.filters.left_out else ""
        yield f"{self.path}: {filters_text(self.name, self.filters)}{rest}"


def filters_text(name: str, filters: Filters) -> str:
    """Return a description of the images.

    >>> import numpy as np
    >>> filters_text("hidden1/kernel", Filters(np.zeros((100, 28, 28, 1)), 300, "units"))
    'hidden1/kernel: 100 of 300 units, 28 x 28'
    """
    shown, height, width, _ = filters.tiles.shape
    count = f"{shown} of {filters.units}" if filters.left_out else str(shown)
    return f"{name}: {count} {filters.what}, {height} x {width}{filters.how and f', {filters.how}'}"


def draw_filters(
    path: Path, name: str, picture: Picture, most: int = 100, image_shape: Sequence[int] | None = None
) -> Drawn:
    """Draw the weights of a layer: those of each unit of a dense layer as an image, or the filters of a convolution.

    Weight 0 is middle grey; each image has its own scale, from minus to plus its largest weight.

    Args:
        path: The checkpoint.
        name: A layer, or a kernel.
        picture: The file to write.
        most: The maximum number of units to draw, from the first.
        image_shape: Height, width and channels of a dense layer's input, if the model does not determine them.

    Raises:
        UnknownName: the name does not exist.
        PlanError: the layer has no kernel, or one that cannot be drawn as an image.
    """
    kernel, filters = filters_of(path, name, most, image_shape)
    _draw(picture, filters_text(kernel, filters), filters)
    return Drawn(picture.path, kernel, filters)


def filters_of(path: Path, name: str, most: int = 100, image_shape: Sequence[int] | None = None) -> tuple[str, Filters]:
    """Return the name of a layer's kernel, and its images; see `draw_filters` for the arguments and errors."""
    return KernelSource.open(path).drawn(name, most, image_shape)


def first_filters(path: Path, names: Iterable[str], most: int = 100) -> tuple[str, Filters] | None:
    """Return the same for the first of some layers that can be drawn, None if none can; the file is opened once."""
    source = KernelSource.open(path)
    for name in names:
        with suppress(PlanError):  # it is fed no images
            return source.drawn(name, most, None)
    return None


def _draw(picture: Picture, title: str, filters: Filters) -> None:
    """Draw images in a grid, with the index of each row's first unit beside it."""
    tiles = filters.tiles
    times = max(1, round(TILE / sqrt(prod(tiles.shape[1:3]))))
    large = shades(tiles).repeat(times, axis=1).repeat(times, axis=2)
    count, height, width, _ = large.shape
    columns = columns_of(count, height, width)
    sheet = mosaic(large, columns, GAP)
    wide, high = (size / DOTS_PER_INCH for size in (sheet.shape[1], sheet.shape[0]))
    figure = picture.figure(max(NARROWEST, wide + ASIDE), high + HEADING)
    axis = figure.subplots()
    axis.imshow(sheet, interpolation="nearest")
    starts = range(0, count, columns)
    axis.set_yticks([row * (height + GAP) + height / 2 for row in range(len(starts))], list(map(str, starts)))
    axis.set_xticks([])
    axis.tick_params(length=0, labelsize=8)
    axis.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=10, parse_math=False, wrap=True)
    picture.write(figure)
