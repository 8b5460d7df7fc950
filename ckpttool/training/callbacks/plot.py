"""The plot: the curves of a run in one picture, drawn by Matplotlib when it is over or stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckpttool.core.errors import MissingDependency, PlanError
from ckpttool.formats.writing.files import refuse_existing, refuse_unwritable, replacing
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.run import Epoch, best_of

WIDTH, HEADING, LOSSES, ACCURACY, RATE = 8.0, 0.8, 2.6, 2.6, 1.6
"""Inches of the picture, of what stands above and below its panels, and of each panel."""
MARKED = 40
"""Epochs up to which each is a point on its curve."""
TRAIN, VALID, OTHER, QUIET = "#2a6fbb", "#d9622b", "#3b8b5d", "#6b6b6b"
SUFFIXES = (".png", ".pdf", ".svg")
DOTS_PER_INCH = 150


class Picture:
    """A file that a figure will be written to; no display is needed, and others' settings of Matplotlib stay."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Check that the picture may be written, and that Matplotlib is there to draw it.

        Raises:
            PlanError: its name ends as no picture's does.
            ExistingOutput: it is there already.
            MissingDependency: Matplotlib is not installed.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise PlanError(f"`plot` {path}: expected a name that ends with {', '.join(SUFFIXES)}")
        refuse_existing([path], overwrite)
        refuse_unwritable(path)
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependency("`plot` needs Matplotlib: pip install 'ckpttool[plot]'") from error
        self.path, self._new = path, Figure

    def figure(self, width: float, height: float) -> Any:
        """Return a figure of so many inches to draw on."""
        return self._new((width, height), DOTS_PER_INCH, layout="constrained")

    def write(self, figure: Any) -> None:
        """Write a figure, whole or not at all."""
        with replacing(self.path) as file:
            figure.savefig(file, format=self.path.suffix.lower().removeprefix("."))


class Plot(Callback):
    """Draws the curves of a run."""

    def __init__(self, path: Path, title: str, overwrite: bool) -> None:
        """Check that there can be a picture, as `Picture` does."""
        self._picture, self._title = Picture(path, overwrite), title
        self._epochs: list[Epoch] = []

    def on_run_begin(self, history: Sequence[Epoch]) -> None:
        """Take the epochs before those of this process."""
        self._epochs = list(history)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Take an epoch."""
        self._epochs.append(epoch)

    def on_run_end(self) -> None:
        """Draw what there is."""
        if self._epochs:
            self._picture.write(self._draw())

    def _draw(self) -> Any:
        heights, panels = zip(*_panels_of(self._epochs), strict=True)
        figure = self._picture.figure(WIDTH, HEADING + sum(heights))
        axes = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        best = best_of(self._epochs)
        for axis, draw in zip(axes, panels, strict=True):
            _style(axis)
            axis.axvline(best.epoch, color=QUIET, linewidth=1, linestyle=(0, (2, 3)), zorder=0, label="best epoch")
            draw(axis, self._epochs)
        axes[0].legend(frameon=False, fontsize=9)
        _count_epochs(axes[-1], len(self._epochs))
        figure.suptitle(f"{self._title}: {_outcome(best)}", fontsize=11, parse_math=False)
        return figure


def _outcome(best: Epoch) -> str:
    accuracy = "" if best.valid_accuracy is None else f", accuracy {best.valid_accuracy:.4f}"
    return f"best epoch {best.epoch}, validation loss {best.valid_loss:.4f}{accuracy}"


def _panels_of(epochs: Sequence[Epoch]) -> list[tuple[float, Any]]:
    """Return the panels that a history has figures for, with their heights."""
    panels: list[tuple[float, Any]] = [(LOSSES, _losses)]
    if epochs[0].valid_accuracy is not None:
        panels.append((ACCURACY, _accuracy))
    if epochs[0].learning_rate is not None:
        panels.append((RATE, _learning_rate))
    return panels


def _losses(axis: Any, epochs: Sequence[Epoch]) -> None:
    _curve(axis, epochs, "loss", TRAIN, "training")
    _curve(axis, epochs, "valid_loss", VALID, "validation")
    axis.set_ylabel("loss")


def _accuracy(axis: Any, epochs: Sequence[Epoch]) -> None:
    _curve(axis, epochs, "valid_accuracy", VALID, "validation")
    axis.set_ylabel("validation accuracy")


def _learning_rate(axis: Any, epochs: Sequence[Epoch]) -> None:
    _curve(axis, epochs, "learning_rate", OTHER, "learning rate")
    axis.set_ylabel("learning rate")
    rates = [epoch.learning_rate or 0.0 for epoch in epochs]
    if max(rates) > 20 * min(rates) > 0:
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1.2 * max(rates) or 1.0)


def _curve(axis: Any, epochs: Sequence[Epoch], figure: str, color: str, label: str) -> None:
    marker = "o" if len(epochs) <= MARKED else ""
    points = [epoch.epoch for epoch in epochs], [getattr(epoch, figure) for epoch in epochs]
    axis.plot(*points, color=color, label=label, linewidth=1.8, marker=marker, markersize=3.5)


def _count_epochs(axis: Any, epochs: int) -> None:
    """Let whole numbers stand below the lowest panel."""
    beside = max(0.5, 0.02 * epochs)
    axis.set_xlim(1 - beside, epochs + beside)
    axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axis.set_xlabel("epoch")


def _style(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e3e3e3", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=9)
