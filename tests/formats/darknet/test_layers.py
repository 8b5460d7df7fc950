"""The layers of a Darknet .cfg: their output shapes and their arrays."""

import time

import pytest
from darknet_files import network, section

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.formats.darknet.layers import read_network

LAST = section("connected", output=1)


def arrays(tmp_path, text, transposed=False):
    (tmp_path / "a.cfg").write_text(text)
    return {array.name: array.shape for array in read_network(tmp_path / "a.cfg", transposed)}


@pytest.mark.parametrize(
    "layers, inputs",
    [
        ([section("conv", filters=2, size=3, pad=1)], 2 * 8 * 8),
        ([section("convolutional", filters=2, size=3, padding=0, stride=2)], 2 * 3 * 3),
        ([section("convolutional", filters=2, size=3, pad=1, stride_x=2, stride_y=4)], 2 * 2 * 4),
        ([section("maxpool", size=2, stride=2)], 3 * 4 * 4),
        ([section("maxpool", size=2, stride=1)], 3 * 8 * 8),
        ([section("avgpool")], 3),
        ([section("upsample", stride=2)], 3 * 16 * 16),
        ([section("reorg", stride=2)], 12 * 4 * 4),
        ([section("reorg", stride=2), section("reorg", stride=2, reverse=1)], 3 * 8 * 8),
        ([section("dropout"), section("route", layers="0,-1")], 6 * 8 * 8),
        ([section("conv", filters=4), section("route", layers="-1", groups=2, group_id=1)], 2 * 8 * 8),
        ([section("avgpool"), section("scale_channels", **{"from": -1})], 3),
        ([section("crop", crop_height=5, crop_width=6)], 3 * 5 * 6),
        ([section("connected", output=7), section("softmax")], 7),
        ([section("local", filters=2, size=3, stride=1, pad=0)], 2 * 6 * 6),
        ([section("activation"), section("shortcut", **{"from": -1})], 3 * 8 * 8),
    ],
)
def test_layers_give_these_shapes(tmp_path, layers, inputs):
    assert arrays(tmp_path, network(*layers, LAST))[f"connected_{len(layers)}/weight"] == (1, inputs)


def test_layers_have_these_arrays(tmp_path):
    found = arrays(
        tmp_path,
        network(
            section("convolutional", filters=6, size=3, groups=3, pad=1, batch_normalize=1, flipped=1),
            section("convolutional", filters=6, size=3, share_index=0, pad=1),
            section("shortcut", **{"from": "-2", "weights_type": "per_channel"}),
            section("batchnorm"),
            section("local", filters=2, size=8),
            section("connected", output=4, batch_normalize=1),
        ),
    )
    parts = ("bias", "weight", "running_mean", "running_var")
    assert found == {
        **{f"convolutional_0/bn/{part}": (6,) for part in parts},
        "convolutional_0/weight": (6, 1, 3, 3),
        "shortcut_2/weight": (2, 6),
        **{f"batchnorm_3/{part}": (6,) for part in parts},
        "local_4/bias": (2, 1, 1),
        "local_4/weight": (1, 2, 6, 8, 8),
        **{f"connected_5/bn/{part}": (4,) for part in parts},
        "connected_5/weight": (4, 2),
    }


@pytest.mark.parametrize(
    "text, message",
    [
        ("", r"does not begin with \[net\]"),
        ("[convolutional]\nfilters=2", r"does not begin with \[net\]"),
        (network(section("gru", output=3)), r"layer 0, \[gru\], is of a kind that is not supported"),
        (network(section("conv", filters="many")), r"\[convolutional\], has filters=many, expected a number"),
        (network(section("conv", filters=1 << 40)), "has filters=1099511627776, expected a number"),
        (network(section("conv", filters="")), "has filters= without a number"),
        (network(section("conv", filters=0)), "has filters=0, expected a number of at least 1"),
        (network(section("conv", size=20)), r"would have the invalid output shape \[1, -11, -11\]"),
        (network(section("conv", filters=2, groups=2)), "has 2 groups of 3 channels"),
        (network(section("conv", filters=1 << 30, size=1 << 30, pad=1)), "has the impossible shape"),
        (network(section("route", layers=-2)), "names layer -2, which is not a layer before it"),
        (network(section("route")), "lacks layers="),
        (network(section("dropout"), channels=0), "would have the invalid output shape"),
        ("#" * (1 << 20) + "\n", "the file is over 1 MB, the limit for a .cfg"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, text, message):
    with pytest.raises(CkptError, match=rf"a\.cfg.*{message}") as refused:
        arrays(tmp_path, text)
    assert isinstance(refused.value, CorruptCheckpoint | FormatError)


def test_lines_that_are_no_options_are_skipped(tmp_path):
    """Those before the first section, and those without a value."""
    text = "height=3\nnothing\n" + network("[connected]\noutput\noutput=2", channels=1, height=1, width=3)
    assert arrays(tmp_path, text)["connected_0/weight"] == (2, 3)


def test_a_cfg_as_large_as_is_read_takes_no_time(tmp_path):
    begun = time.monotonic()
    with pytest.raises(CkptError):
        arrays(tmp_path, network("[crnn]") + "[conv]\n" * 140_000)
    arrays(tmp_path, network(*["[dropout]"] * 50_000))
    assert time.monotonic() - begun < 10
