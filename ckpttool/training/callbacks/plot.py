"""The plot: the curves of a run in one figure, drawn by Matplotlib when the run ends."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import MissingDependency, PlanError
from ckpttool.formats.writing.files import refuse_existing, refuse_unwritable, replacing
from ckpttool.formats.writing.staging import destination
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.run import Epoch, best_of

WIDTH, HEADING = 8.0, 0.8
"""Width of the figure, and its margins above and below the panels, in inches."""
MARKED = 40
"""Up to this number of epochs, each is marked by a point."""
TRAIN, VALID, OTHER, QUIET, PARTED = "#2a6fbb", "#d9622b", "#3b8b5d", "#6b6b6b", "#c4c4c4"
SUFFIXES = (".png", ".pdf", ".svg")
DOTS_PER_INCH = 150


class Picture:
    """A file that a figure will be written to; needs no display, and does not change Matplotlib's global settings."""

    def __init__(self, path: Path, overwrite: bool, parameter: str = "plot") -> None:
        """Check that the file named by `parameter` can be written, and that Matplotlib is installed.

        Raises:
            PlanError: its extension is not that of an image.
            ExistingOutput: it exists.
            MissingDependency: Matplotlib is not installed.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise PlanError(f"`{parameter}` {path}: expected a name that ends with {', '.join(SUFFIXES)}")
        refuse_existing([path], overwrite)
        refuse_unwritable(path)
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependency(f"`{parameter}` needs Matplotlib: pip install 'ckpttool[plot]'") from error
        self.path, self._new = path, Figure

    def beside(self, place: Path) -> "Picture":
        """Return the picture among the staged files of an output, to be committed with them, if it is in its folder."""
        if not destination(place).parent.samefile(self.path.parent):
            return self
        staged = copy(self)
        staged.path = place.with_name(self.path.name)
        return staged

    def figure(self, width: float, height: float) -> Any:
        """Return a new figure of a size in inches."""
        return self._new((width, height), DOTS_PER_INCH, layout="constrained")

    def write(self, figure: Any) -> None:
        """Write a figure atomically."""
        with replacing(self.path) as file:
            figure.savefig(file, format=self.path.suffix.lower().removeprefix("."))


class Plot(Callback):
    """Draws the curves of a run."""

    def __init__(self, path: Path, title: str, overwrite: bool) -> None:
        """Check that the figure can be written, as `Picture` does."""
        self._picture, self._title = Picture(path, overwrite), title
        self._epochs: list[Epoch] = []

    def on_run_begin(self, history: Sequence[Epoch]) -> None:
        """Start with the epochs of earlier processes."""
        self._epochs = list(history)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Add an epoch."""
        self._epochs.append(epoch)

    def on_output(self, place: Path) -> None:
        """Draw the figure where it is committed with the model, if both are in one folder."""
        picture = self._picture.beside(place)
        if self._epochs and picture is not self._picture:
            draw_curves(picture, self._title, [self._epochs])
            self._epochs = []

    def on_run_end(self) -> None:
        """Draw the figure in another folder, or of a run that was stopped or failed."""
        if self._epochs:
            draw_curves(self._picture, self._title, [self._epochs])


def draw_curves(picture: Picture, title: str, runs: Sequence[Sequence[Epoch]], best: int = 0) -> None:
    """Draw a panel for each metric in the history, one below the other; several runs follow one another.

    The title is about the run with index `best`.
    """
    starts = [sum(map(len, runs[:number])) for number in range(len(runs))]
    panels = [panel for panel in PANELS if getattr(runs[0][0], panel.curves[0][0]) is not None]
    heights = [panel.height for panel in panels]
    figure = picture.figure(WIDTH, HEADING + sum(heights))
    axes = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    found, count = best_of(runs[best]), starts[-1] + len(runs[-1])
    for axis, panel in zip(axes, panels, strict=True):
        place = starts[best] + found.epoch
        axis.axvline(place, color=QUIET, linewidth=1, linestyle=(0, (2, 3)), zorder=0, label="best epoch")
        panel.draw(axis, [epoch for run in runs for epoch in run], starts)
    for number, start in enumerate(starts if len(runs) > 1 else []):
        above = axes[0].get_xaxis_transform()
        axes[0].text(start + 0.6, 1.01, f"round {number}", transform=above, fontsize=8, color=QUIET)
    axes[0].legend(frameon=False, fontsize=9)
    beside = max(0.5, 0.02 * count)
    axes[-1].set_xlim(1 - beside, count + beside)
    axes[-1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # whole epochs
    axes[-1].set_xlabel("epoch")
    accuracy = "" if found.valid_accuracy is None else f", accuracy {found.valid_accuracy:.4f}"
    of_round = f" of round {best}" if len(runs) > 1 else ""
    outcome = f"best epoch {found.epoch}{of_round}, validation loss {found.valid_loss:.4f}{accuracy}"
    figure.suptitle(f"{title}: {outcome}", fontsize=11, parse_math=False)
    picture.write(figure)


@dataclass(frozen=True)
class Panel:
    """A panel: its height in inches, and its curves, each a metric of the epochs with its color and label."""

    height: float
    label: str
    curves: tuple[tuple[str, str, str], ...]
    may_be_logarithmic: bool = False

    def draw(self, axis: Any, epochs: Sequence[Epoch], starts: Sequence[int] = (0,)) -> None:
        """Draw the curves, with points if the epochs are few, and gaps between runs."""
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e3e3e3", linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=9)
        axis.set_ylabel(self.label)
        marker = "o" if len(epochs) <= MARKED else ""
        for name, color, label in self.curves:
            values = [getattr(epoch, name) for epoch in epochs]
            for start, end in zip(starts, [*starts[1:], len(epochs)], strict=True):
                numbers, own = range(start + 1, end + 1), None if start else label
                line = {"color": color, "linewidth": 1.8, "marker": marker, "markersize": 3.5}
                axis.plot(numbers, values[start:end], label=own, **line)
            if self.may_be_logarithmic:
                known = [value or 0.0 for value in values]
                if max(known) > 20 * min(known) > 0:
                    axis.set_yscale("log")
                else:
                    axis.set_ylim(0, 1.2 * max(known) or 1.0)
        for start in starts[1:]:
            axis.axvline(start + 0.5, color=PARTED, linewidth=0.8, zorder=0)


PANELS = (
    Panel(2.6, "loss", (("loss", TRAIN, "training"), ("valid_loss", VALID, "validation"))),
    Panel(2.6, "validation accuracy", (("valid_accuracy", VALID, "validation"),)),
    Panel(1.6, "learning rate", (("learning_rate", OTHER, "learning rate"),), may_be_logarithmic=True),
)
