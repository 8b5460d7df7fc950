"""The picture of a learning rate range test."""

from typing import Any

from ckpttool.training.callbacks.plot import Picture
from ckpttool.verbs.rates.curve import RateCurve

INCHES = (7.0, 4.0)


def draw_rates(picture: Picture, curve: RateCurve) -> None:
    """Draw losses over rates, and a line at the suggestion."""
    figure = picture.figure(*INCHES)
    _draw(figure.subplots(), curve)
    picture.write(figure)


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
