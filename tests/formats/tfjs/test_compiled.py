"""How a model was compiled, for TensorFlow.js: only what trains there as it does in Keras."""

from typing import Any

import pytest

from ckpttool.formats.tfjs.compiled import UNSET, training_config

SGD = {"class_name": "SGD", "config": {"learning_rate": 0.1}}


def config(optimizer: Any = SGD, loss: Any = "mse", **more: Any) -> dict[str, Any]:
    return {"optimizer": optimizer, "loss": loss, **more}


def optimizer(kind: str, **options: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"learning_rate": 0.1, **options}}


def test_a_model_that_was_not_compiled_or_weighs_its_losses_is_not():
    assert training_config(None) is training_config({}) is None
    assert training_config(config(loss_weights=[1.0])) is None
    assert training_config(config(loss_weights=None)) is not None
    assert training_config({"optimizer": SGD}) is training_config({"loss": "mse"}) is None


@pytest.mark.parametrize(
    ("metrics", "kept"),
    [(["acc", "accuracy", "mse", "auc", "mae"], ["acc", "accuracy", "mse", "mae"]), ("acc", []), (None, [])],
)
def test_metrics_that_it_does_not_have_are_left_out(metrics, kept):
    assert training_config(config(metrics=metrics))["metrics"] == kept


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (optimizer("Adam", beta_1=0.8, beta_2=0.7, epsilon=1e-6, amsgrad=False, weight_decay=None, jit_compile=True),
         optimizer("Adam", beta_1=0.8, beta_2=0.7, epsilon=1e-6)),
        (optimizer("RMSprop", rho=0.9, momentum=0.5, centered=True),
         optimizer("RMSProp", decay=0.9, momentum=0.5, centered=True)),
        (optimizer("SGD", momentum=0.0), SGD),
        (optimizer("Adamax"), optimizer("Adamax")),
        ({"class_name": "SGD", "config": {"learning_rate": 1}}, {"class_name": "SGD", "config": {"learning_rate": 1}}),
    ],
)  # fmt: skip
def test_an_optimizer_has_its_options_under_their_names(given, made):
    assert training_config(config(given))["optimizer_config"] == made


@pytest.mark.parametrize(
    "given",
    [
        None,
        "sgd",
        {"class_name": "SGD"},
        {"class_name": "SGD", "config": "x"},
        {"class_name": "SGD", "config": {}},
        {"class_name": "SGD", "config": {"learning_rate": {"class_name": "ExponentialDecay"}}},
        optimizer("Lion"),
        optimizer("SGD", momentum=0.9),
        optimizer("Adam", amsgrad=True),
        *(optimizer("SGD", **{name: 0.5}) for name in UNSET),
    ],
    ids=str,
)
def test_an_optimizer_that_trains_otherwise_is_none(given):
    assert training_config(config(given)) is None


def of_class(kind: str, **options: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": options}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("mse", "mean_squared_error"),
        (["mse", "mae"], ["mean_squared_error", "mean_absolute_error"]),
        ({"a": "mse", "b": ["mae"]}, {"a": "mean_squared_error", "b": ["mean_absolute_error"]}),
        (of_class("BinaryCrossentropy", from_logits=False, axis=-1), "binary_crossentropy"),
        (of_class("MeanSquaredError", reduction="sum_over_batch_size", name="x"), "mean_squared_error"),
        ({"class_name": "MeanSquaredError"}, "mean_squared_error"),
    ],
)
def test_losses_have_other_names_there(given, made):
    assert training_config(config(loss=given))["loss"] == made


@pytest.mark.parametrize(
    "given",
    [
        "huber", None, 7, [], {}, ["mse", "huber"], ["mse", None], {"a": "mse", "b": "huber"}, [[]], of_class("Huber"),
        of_class("BinaryCrossentropy", from_logits=True), of_class("MeanSquaredError", reduction="sum"),
        of_class("BinaryCrossentropy", label_smoothing=0.1), of_class("BinaryCrossentropy", axis=1),
    ],
    ids=str,
)  # fmt: skip
def test_losses_that_it_computes_otherwise_are_none(given):
    assert training_config(config(loss=given)) is None
