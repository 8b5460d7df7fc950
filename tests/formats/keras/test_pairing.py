"""The pairing of a file's weights with those of a network that Keras 3 builds from it."""

from pathlib import Path

import pytest

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.network import Network
from ckpttool.formats.keras.pairing import stored_names


def pairs(built, stored, **renamed):
    return stored_names(built, stored, Network(Path("old.h5"), {}, None, {}, None, renamed))


def test_equal_names_are_pairs_and_others_are_of_one_layer():
    built = ["d/kernel", "both/forward_lstm/lstm_cell/kernel", "both/backward_lstm/lstm_cell/kernel", "td/dense/bias"]
    stored = ["both/backward_lstm/kernel", "both/forward_lstm/kernel", "d/kernel", "td/bias"]
    assert list(pairs(built, stored).values()) == ["d/kernel", *stored[1::-1], "td/bias"]


def test_depthwise_kernels_of_keras_2_have_another_name():
    assert pairs(["dw/kernel", "dw/bias"], ["dw/depthwise_kernel", "dw/bias"])["dw/kernel"] == "dw/depthwise_kernel"
    separable = ["s/depthwise_kernel", "s/pointwise_kernel"]
    assert pairs(separable, separable) == dict(zip(separable, separable, strict=True))


def test_layers_that_are_named_otherwise_in_the_file():
    assert pairs(["conv1_conv/kernel"], ["conv1/conv/kernel"], conv1_conv="conv1/conv") == {
        "conv1_conv/kernel": "conv1/conv/kernel"
    }


@pytest.mark.parametrize(
    ("built", "stored", "message"),
    [
        (["a/kernel", "a/bias"], ["a/kernel"], "weights that are missing in the file: a/bias"),
        (["a/kernel"], ["a/kernel", "b/kernel"], "weights that belong to no layer of its network: b/kernel"),
        (["a/x/kernel", "a/y/kernel"], ["a/kernel"], "a/x/kernel, a/y/kernel"),
        (["a/x/kernel"], ["b/kernel"], "a/x/kernel; nearest: b/kernel"),
    ],
)
def test_what_has_no_one_partner_is_refused(built, stored, message):
    with pytest.raises(FormatError, match=message):
        pairs(built, stored)


def test_many_weights_take_their_number_of_steps():
    built = [f"l{number}/cell/kernel" for number in range(20_000)]
    assert len(pairs(built, [name.replace("cell/", "") for name in built])) == 20_000
