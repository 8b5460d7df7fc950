"""The figure of an evaluation: the confusion matrix, and the recall and precision of each class, by Matplotlib."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.shown_text import shortened, visible
from ckpttool.training.callbacks.plot import TRAIN, VALID, Picture

CELL, BAR = 0.34, 0.3
"""Inches per class in the matrix, and of its two bars."""
LEAST, MOST = 2.8, 12.0
"""Minimum and maximum inches of a panel."""
HEADING, NAMES = 1.1, 1.2
"""Inches of the margins above and below the panels, and of the class names beside them."""
COUNTED = 30
"""Up to this number of classes, the cells of the matrix contain the counts."""
LONGEST = 24
"""Maximum characters of a class name."""


def draw_evaluation(picture: Picture, title: str, figures: Mapping[str, Any]) -> None:
    """Draw the metrics of `evaluate` for each class or label.

    Raises:
        PlanError: there are none, as for predicted numbers.
        CkptError: the figure cannot be written.
    """
    classes = figures.get("classes") or figures.get("labels")
    if not classes:
        raise PlanError("`plot` is for classification, but the model's outputs are not classes or labels")
    confusion = figures.get("confusion")
    panels = 2 if confusion else 1
    side = min(MOST, max(LEAST, CELL * len(classes)))
    figure = picture.figure(panels * (side + NAMES), max(side, min(MOST, BAR * len(classes))) + HEADING)
    axes = figure.subplots(1, panels, squeeze=False, width_ratios=[1.25, 1][-panels:])[0]
    names = [_name(each) for each in classes]
    if confusion:
        _confusion(axes[0], np.array(confusion), names)
    _bars(axes[-1], classes, names)
    accuracy = figures.get("accuracy")
    said = "" if accuracy is None else f", accuracy {accuracy:.4f}"
    heading = f"{title}: {figures['rows']} rows, loss {figures['loss']:.4f}{said}"
    shown = axes[-1].get_legend_handles_labels()
    figure.legend(*shown, frameon=False, fontsize=9, loc="outside lower right", ncols=2)
    figure.suptitle(heading, fontsize=11, parse_math=False, wrap=True)
    picture.write(figure)


def _name(each: Mapping[str, Any]) -> str:
    name = visible(str(each.get("name", each.get("class", each.get("label")))))
    return name if len(name) <= LONGEST else shortened(f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 :]}")


def _confusion(axis: Any, counts: Any, names: Sequence[str]) -> None:
    """Draw the confusion matrix with a row per true class, as fractions of its rows."""
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(names))
    axis.set_xticks(places, names, rotation=90 if max(map(len, names)) > 2 else 0, parse_math=False)
    axis.set_yticks(places, names, parse_math=False)
    axis.set(xlabel="predicted class", ylabel="true class")
    axis.set_title("confusion matrix, normalised by true class", fontsize=10)
    axis.tick_params(length=0, labelsize=8)
    for row, column in np.argwhere(counts) if len(names) <= COUNTED else ():
        colour = "white" if shares[row, column] > 0.5 else "#1f1f1f"
        axis.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=7, color=colour)
    axis.figure.colorbar(image, ax=axis, shrink=0.7, label="fraction of the class")


def _bars(axis: Any, classes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """Draw the recall and precision of each class, the first at the top."""
    places = np.arange(len(classes))
    recall = "recall" if "recall" in classes[0] else "accuracy"
    for shift, key, label, colour in ((-0.2, recall, "recall", TRAIN), (0.2, "precision", "precision", VALID)):
        axis.barh(places + shift, [each[key] or 0.0 for each in classes], 0.38, label=label, color=colour)
    axis.set_yticks(places, names, parse_math=False)
    axis.set(xlim=(0, 1), ylim=(len(classes) - 0.5, -0.5), xlabel="share of rows")
    axis.set_title("recall and precision of each class", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="#e3e3e3", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8)
