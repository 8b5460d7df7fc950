"""The figure of pretraining: rows beside their reconstructions, and the curves of all stages below."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.splits import Split
from ckpttool.runtime.pretraining.method import Method
from ckpttool.surgery.filters import COLOURS, GREY, mosaic
from ckpttool.training.augment import image_shape_of
from ckpttool.training.callbacks.plot import HEADING, QUIET, TRAIN, VALID, WIDTH, Panel, Picture
from ckpttool.training.run import Epoch, best_of

ROWS = 10
"""Number of rows shown."""
ACROSS = 3
"""Panels per line."""
TILE, GAP, LINE = 48, 3, 0.75
"""Minimum pixels of an image's shorter side, pixels between images, and inches of a line of them."""
LEAST_PIXELS = 64
"""Minimum size of a flat row that is shown as a square image."""
PANEL = 2.3
"""The height of a panel in inches."""
Images = tuple[int, int, int]


def images_of(split: Split, layout: Sequence[int] | None) -> Images | None:
    """Return the shape of rows that are images (height, width, channels); None if they are not known to be images."""
    try:
        images = image_shape_of(split, next(iter(split.inputs)), layout)
    except PlanError:
        return None
    flat = all(len(rows.shape) == 2 for rows in split.inputs.values())
    return None if layout is None and flat and prod(images) < LEAST_PIXELS else images


def draw_pretraining(
    picture: Picture,
    title: str,
    method: Method,
    stages: Sequence[Mapping[str, Any]],
    rows: Mapping[str, Array],
    images: Images | None,
) -> None:
    """Draw the figure.

    Args:
        picture: The file to write.
        title: The title of the figure.
        method: The method of pretraining.
        stages: The reports of the stages.
        rows: Rows and their reconstructions by label; empty if the method reconstructs nothing.
        images: The shape of a row if it is an image (height, width, channels).
    """
    curves = [panel for stage in stages for panel in _panels(stage, method)]
    lines = -(-len(curves) // ACROSS)
    heights = [LINE * len(rows) + 0.2 if rows else 0.0, PANEL * lines]
    figure = picture.figure(WIDTH, HEADING + sum(heights))
    above, below = figure.subfigures(2, 1, height_ratios=heights) if rows else (None, figure.subfigures(1, 1))
    if above:
        _draw_rows(above.subplots(), rows, images)
    axes = below.subplots(lines, min(ACROSS, len(curves)), squeeze=False).ravel()
    for axis, (name, panel, history) in zip(axes, curves, strict=False):
        axis.axvline(best_of(history).epoch, color=QUIET, linewidth=1, linestyle=(0, (2, 3)), zorder=0, label="best")
        panel.draw(axis, history)
        axis.set_title(name, fontsize=10, loc="left", parse_math=False)
        axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axis.set_xlabel("epoch", fontsize=9)
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11, parse_math=False)
    picture.write(figure)


def _panels(stage: Mapping[str, Any], method: Method) -> list[tuple[str, Panel, list[Epoch]]]:
    """Return the curves of a stage: the loss, and the method's metric if it has one."""
    history = [Epoch(**epoch) for epoch in stage["history"]]
    losses = (("loss", TRAIN, "training"), ("valid_loss", VALID, "validation"))
    panels = [Panel(PANEL, method.measure, losses)]
    if history[0].valid_accuracy is not None:
        panels.append(Panel(PANEL, method.figure, (("valid_accuracy", VALID, "validation"),)))
    return [(stage["layer"], panel, history) for panel in panels]


def _draw_rows(axis: Any, rows: Mapping[str, Array], images: Images | None) -> None:
    """Draw rows in labelled lines: as images, or as one heat map."""
    given = next(iter(rows.values()))
    tiles = [_tiles(values, given, images) for values in rows.values()]
    height, width = tiles[0].shape[1:3]
    times = max(1, round(TILE / min(height, width))) if images else 1
    large = np.concatenate(tiles).repeat(times, axis=1).repeat(times, axis=2)
    sheet = mosaic(large, len(tiles[0]), GAP if images else 1)
    axis.imshow(sheet, interpolation="nearest", aspect="equal" if images else "auto")
    step = large.shape[1] + (GAP if images else 1)
    axis.set_yticks([line * step + large.shape[1] / 2 for line in range(len(tiles))], list(rows))
    axis.set_xticks([])
    axis.tick_params(length=0, labelsize=9)
    axis.spines[:].set_visible(False)


def _tiles(values: Array, given: Array, images: Images | None) -> Array:
    """Return rows as RGB images, [rows, height, width, 3], from black at the minimum to white at the maximum.

    Rows that are not images make one image, in which each column has its own scale.

    >>> _tiles(np.array([[0.0, 2.0, 5.0, 1.0]]), np.array([[0.0, 2.0, 1.0, 1.0]]), (2, 2, 1))[0, ..., 0].tolist()
    [[0, 255], [255, 128]]
    >>> _tiles(np.zeros((10, 4)), np.zeros((10, 4)), None).shape
    (1, 10, 4, 3)
    """
    if images:
        shaped, low, high = values.reshape(-1, *images), given.min(), given.max()
    else:
        flat = given.reshape(len(given), prod(given.shape[1:]))
        low, high = flat.min(axis=0)[:, np.newaxis], flat.max(axis=0)[:, np.newaxis]
        shaped = values.reshape(1, *flat.shape, 1)
    scaled = np.clip((shaped - low) / np.where(high > low, high - low, 1), 0, 1)
    colours = scaled if scaled.shape[-1] in (GREY, COLOURS) else scaled.mean(axis=-1, keepdims=True)
    grey = np.asarray(np.rint(colours * 255), np.uint8)
    return grey.repeat(COLOURS // grey.shape[-1], axis=-1)
