"""Compile configs: a supported loss, or its name, and an optimizer."""

import pytest

from ckpttool.formats.keras.objective import CompiledLoss, compiled_loss, compiled_text


def test_losses_of_numbers_are_of_no_activation() -> None:
    assert compiled_loss({"loss": "huber"}) == CompiledLoss("huber", None)
    huber = {"class_name": "Huber", "config": {"reduction": "sum_over_batch_size", "delta": 2.0}}
    assert compiled_loss({"loss": huber}) is None
    assert compiled_loss({"loss": {"only": "mae"}}) == CompiledLoss("mae", None)


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (None, None),
        ("mse", "mse"),
        (["mse", {"class_name": "Huber", "config": {}}], "mse, Huber"),
        ({"a": "mse", "b": {"class_name": "function", "config": "mae"}}, "mse for a, mae for b"),
    ],
)
def test_what_was_compiled_is_said_of_each_output(loss: object, text: str | None) -> None:
    assert compiled_text({"loss": loss}) == text
