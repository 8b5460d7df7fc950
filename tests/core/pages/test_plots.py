"""Plots and pictures: drawn as counted."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from ckpttool.core.pages.pictures import png
from ckpttool.core.pages.plots import curves, histogram


def test_bars_are_as_high_as_counts() -> None:
    drawn = histogram([0.0, 1.0, 2.0, 3.0], [0, 1, 1000], "<w>")
    assert re.findall(r"V(\d+)H", drawn) == ["48", "47", "2", "48"]
    assert 'aria-label="&lt;w&gt;: 0 to 3"' in drawn
    assert histogram([], [], "none") == ""


def test_curves_have_gaps_where_values_are_missing() -> None:
    drawn = curves({"training": [3.0, 2.0, None, 1.0], "validation": [3.0, float("nan"), 2.0, 2.0]}, "epoch", "loss", 2)
    assert re.findall('<(polyline|circle) class="(.*?)"', drawn) == [
        ("polyline", "blue"),
        ("circle", "blue"),
        ("circle", "orange"),
        ("polyline", "orange"),
    ]
    assert drawn.count('class="mark"') == 1
    assert curves({"training": [None]}, "epoch", "loss") == ""
    assert "polyline" in curves({"training": [1.0, 1.0]}, "epoch", "loss")


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_pictures_are_read_by_others(channels: int, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    with Image.open(io.BytesIO(png(pixels))) as image:
        assert image.mode == mode
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)
