"""The picture of a learning rate range test."""

from pathlib import Path
from typing import Any

from ckpttool.errors import MissingDependency
from ckpttool.formats.files import refuse_existing, replacing
from ckpttool.transfer.rate_curve import RateCurve

INCHES = (7.0, 4.0)
DOTS_PER_INCH = 150


class RatePlot:
    """Draws a curve with Matplotlib, which needs no display and keeps the settings that others have made."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Check before the test that the picture may be written, and that Matplotlib is there to draw it.

        Raises:
            ExistingOutput: it is there already.
            MissingDependency: Matplotlib is not installed.
        """
        refuse_existing([path], overwrite)
        self._figure, self._path = _figure_class(), path

    def write(self, curve: RateCurve) -> None:
        """Draw losses over rates, and a line at the suggestion."""
        figure = self._figure(INCHES, DOTS_PER_INCH, layout="constrained")
        _draw(figure.subplots(), curve)
        with replacing(self._path) as file:
            figure.savefig(file, format="png")


def _draw(axis: Any, curve: RateCurve) -> None:
    rates = [point.rate for point in curve.points]
    axis.plot(rates, [point.loss for point in curve.points], color="#c8c8c8", linewidth=1, label="loss of a batch")
    axis.plot(rates, [point.smoothed for point in curve.points], color="#2a6fbb", label="smoothed")
    if curve.suggestion is not None:
        axis.axvline(curve.suggestion, color="#d9622b", linestyle="--", label=f"suggestion {curve.suggestion:.2g}")
    low, high = curve.span
    beside = 0.05 * (high - low) or 1.0
    axis.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(low - beside, high + beside))
    axis.legend(frameon=False)


def _figure_class() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependency("--plot needs Matplotlib: pip install 'ckpttool[plot]'") from error
    return Figure
