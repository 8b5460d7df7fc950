"""Weights of architectures by their names, with files that have other names."""

import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import FormatError
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.keras.application_weights import completed_by, paired
from ckpttool.formats.keras.applications import MobileNetApplication, MobileNetV3Application, application


def pairs(built: str, stored: str) -> dict[str, str]:
    return paired("w.h5", {name: f"layers/{name}" for name in built.split()}, {name: name for name in stored.split()})


def test_layers_that_keras_has_named_are_paired_in_the_order_of_their_numbers() -> None:
    built = "conv2d/kernel conv2d_9/kernel conv2d_10/kernel block1/kernel"
    stored = "block1/kernel conv2d_104/kernel conv2d_95/kernel conv2d_96/kernel"

    assert pairs(built, stored) == {
        "conv2d/kernel": "conv2d_95/kernel",
        "conv2d_9/kernel": "conv2d_96/kernel",
        "conv2d_10/kernel": "conv2d_104/kernel",
        "block1/kernel": "block1/kernel",
    }


def test_names_of_keras_1_and_names_with_slashes_are_known() -> None:
    built = "block1_conv1/kernel block1_conv1/bias expanded_conv_project_bn/moving_variance sep/kernel"
    stored = "block1_conv1/W_1 block1_conv1/b_1 expanded_conv/project_bn/running_std sep/depthwise_kernel"

    assert list(pairs(built, stored).values()) == stored.split()


def test_what_is_missing_and_what_is_left_is_said() -> None:
    with pytest.raises(
        FormatError, match=r"w\.h5: the architecture has weights that are missing in the file: fc/kernel"
    ):
        pairs("conv1/kernel fc/kernel", "conv1/kernel")
    with pytest.raises(FormatError, match=r"w\.h5 has weights that belong to no layer of the architecture: fc/kernel"):
        pairs("conv1/kernel", "conv1/kernel fc/kernel")
    with pytest.raises(FormatError, match=r"w\.h5: two weights of one layer have one name"):
        pairs("conv1/kernel", "conv1/kernel conv1/W_1")


def test_arguments_that_are_not_given_follow_from_the_weights() -> None:
    shapes = {"expanded_conv_10/project/kernel": (1, 1, 576, 72), "logits/bias": (12,), "Conv/kernel": (3, 3, 3, 16)}
    specs = {name: TensorSpec(name, shape, BY_NAME["float32"]) for name, shape in shapes.items()}

    told = completed_by(application("keras:MobileNetV3Small"), specs)
    given = completed_by(application("keras:MobileNetV3Small(include_top=False, alpha=1)"), specs)

    assert isinstance(told, MobileNetV3Application)
    assert isinstance(given, MobileNetApplication)
    assert (told.include_top, told.classes, told.alpha, told.minimalistic) == (True, 12, 0.75, True)
    assert (given.include_top, given.classes, given.alpha) == (False, None, 1)
