"""Keras networks in a model.json: Keras builds the same from it; what TensorFlow.js computes differently is rejected.

TensorFlow.js itself, 4.22 in Node.js, gave Keras's numbers for each layer of `LAYERS` (to 1e-6) at the time of writing.
"""

import json

import h5py
import numpy as np
import pytest
from referees import Browsers

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError, PlanError
from ckpttool.formats.format import Writing
from ckpttool.runtime.configure import tensorflow

tensorflow()

import keras  # noqa: E402
from keras import layers  # noqa: E402

IMAGE, STEPS = (8, 9, 4), (7, 5)


def net(shape, *those):
    return keras.Sequential([keras.Input(shape), *those])


def old_gru():
    return layers.GRU(3, reset_after=False)


def joined():
    x = keras.Input((6, 6, 3))
    one = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    two = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(one)))
    shared = layers.Dense(3, kernel_regularizer="l2")
    ends = [layers.GlobalAveragePooling2D()(each) for each in (layers.Add()([one, two]), two)]
    return keras.Model(x, [shared(each) for each in ends])


def nested():
    inner = keras.Input((5,), name="in")
    head = keras.Model(
        inner, layers.Dense(3, name="out")(layers.Dense(4, activation="silu", name="mid")(inner)), name="head"
    )
    one, two = keras.Input((5,)), keras.Input((5,))
    return keras.Model([one, two], layers.Dense(2, name="last")(layers.Multiply(name="by")([head(one), head(two)])))


NETS = {
    "dense": lambda: net((6,), layers.Dense(5, activation="relu"), layers.Dense(4, use_bias=False)),
    "image": lambda: net(IMAGE, layers.SeparableConv2D(3, 3, strides=2), layers.PReLU(), layers.Flatten()),
    "steps": lambda: net(STEPS, layers.Bidirectional(layers.LSTM(4, return_sequences=True)), old_gru()),
    "each step": lambda: net(STEPS, layers.TimeDistributed(layers.Dense(3)), layers.LayerNormalization()),
    "joined": joined,
}  # fmt: skip


def made(build):
    keras.utils.set_random_seed(1)
    model = build()
    for number, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(number).uniform(0.1, 1, weight.shape))
    return model


def as_keras_2(path, target):
    """Write a model.json as a whole Keras 2 model, whose config is its topology."""
    document = json.loads(path.read_text())
    config, arrays = document["modelTopology"]["model_config"], Browsers().read(path, {})
    with h5py.File(target, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"], file.attrs["backend"] = "2.15.0", "tensorflow"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [layer["config"]["name"] for layer in config["config"]["layers"]]
        for layer in config["config"]["layers"]:
            layer_name = layer["config"]["name"]
            names = [name for name in arrays if name.partition("/")[0] == layer_name]
            group.create_group(layer_name).attrs["weight_names"] = names
            for name in names:
                group[layer_name][name] = arrays[name]


@pytest.mark.parametrize("name", NETS)
def test_keras_builds_the_same_network_from_the_topology_and_the_weights(tmp_path, name):
    model = made(NETS[name])
    model.save(tmp_path / "net.keras")
    checkpoint.save(checkpoint.open(tmp_path / "net.keras"), tmp_path / "model.json")
    as_keras_2(tmp_path / "model.json", tmp_path / "again.h5")
    again = keras.models.load_model(tmp_path / "again.h5", compile=False)
    rows = [np.random.default_rng(7).normal(size=(2, *each.shape[1:])).astype("f") for each in model.inputs]
    wanted, found = model(rows[0]), again(rows[0] if isinstance(again, keras.Sequential) else rows)
    for here, there in zip(keras.tree.flatten(wanted), keras.tree.flatten(found), strict=True):
        np.testing.assert_allclose(there, here, atol=1e-6)


def test_weights_of_nested_models_bear_the_names_of_their_layers(tmp_path):
    made(nested).save(tmp_path / "net.keras")
    source = checkpoint.open(tmp_path / "net.keras")
    checkpoint.save(source, tmp_path / "model.json")
    written = checkpoint.open(tmp_path)
    assert list(written) == [f"{layer}/{name}" for layer in ("mid", "out", "last") for name in ("kernel", "bias")]
    assert written["mid/kernel"].read().tolist() == source["head/mid/kernel"].read().tolist()


def test_calls_of_nested_models_are_counted_from_1_as_keras_2_counted_them(tmp_path):
    made(nested).save(tmp_path / "net.keras")
    checkpoint.save(checkpoint.open(tmp_path / "net.keras"), tmp_path / "model.json")
    topology = json.loads((tmp_path / "model.json").read_text())["modelTopology"]["model_config"]["config"]
    calls = {layer["name"]: layer["inbound_nodes"] for layer in topology["layers"]}
    assert [[each[:3] for each in call] for call in calls["by"]] == [[["head", 1, 0], ["head", 2, 0]]]
    assert [each[:3] for call in calls["last"] for each in call] == [["by", 0, 0]]


def compiled_as(tmp_path, optimizer, loss, **more):
    """The trainingConfig of a compiled model, which TensorFlow.js 4.22 trained as Keras did (losses within 1e-4)."""
    model = made(lambda: net((6,), layers.Dense(4, activation="softmax", name="a")))
    model.compile(optimizer if isinstance(optimizer, str) else optimizer(), loss, **more)
    model.save(tmp_path / "net.keras")
    weights = {name: tensor for name, tensor in checkpoint.open(tmp_path / "net.keras").items() if name[:2] == "a/"}
    checkpoint.save(weights, tmp_path / "model.json", how=Writing(like=tmp_path / "net.keras"))
    return json.loads((tmp_path / "model.json").read_text()).get("trainingConfig")


def test_how_a_model_was_compiled_goes_along(tmp_path):
    metrics = ["accuracy", keras.metrics.AUC()]
    found = compiled_as(tmp_path, lambda: keras.optimizers.Adam(0.5), "categorical_crossentropy", metrics=metrics)
    config = {"learning_rate": 0.5, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-07}
    adam = {"class_name": "Adam", "config": config}
    assert found == {"optimizer_config": adam, "loss": "categorical_crossentropy", "metrics": ["accuracy"]}


@pytest.mark.parametrize(
    ("optimizer", "loss", "name", "said"),
    [
        ("sgd", "mse", "SGD", "mean_squared_error"),
        ("adam", keras.losses.CategoricalCrossentropy(), "Adam", "categorical_crossentropy"),
        ("rmsprop", "sparse_categorical_crossentropy", "RMSProp", "sparse_categorical_crossentropy"),
        ("adamax", {"a": "mae"}, "Adamax", {"a": "mean_absolute_error"}),
    ],
)  # fmt: skip
def test_optimizers_and_losses_have_the_names_of_tensorflow_js(tmp_path, optimizer, loss, name, said):
    found = compiled_as(tmp_path, optimizer, loss)
    assert (found["optimizer_config"]["class_name"], found["loss"]) == (name, said)


@pytest.mark.parametrize(
    ("optimizer", "loss", "more"),
    [
        ("adamw", "mse", {}),
        (lambda: keras.optimizers.SGD(momentum=0.9, nesterov=True), "mse", {}),
        (lambda: keras.optimizers.Adam(amsgrad=True), "mse", {}),
        (lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)), "mse", {}),
        (lambda: keras.optimizers.SGD(clipnorm=1.0), "mse", {}),
        ("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), {}),
        ("sgd", "kl_divergence", {}),
        ("sgd", "mse", {"loss_weights": [2.0]}),
    ],
)
def test_a_model_that_would_be_trained_otherwise_is_not_compiled(tmp_path, optimizer, loss, more):
    assert compiled_as(tmp_path, optimizer, loss, **more) is None


def test_a_file_of_keras_2_is_as_good(tmp_path):
    model = made(lambda: net((6,), layers.Dense(5, activation="relu", name="a"), layers.Dense(4, name="b")))
    model.save(tmp_path / "net.h5")
    values = {f"{layer}/{name}": np.ones(1, "f") for layer in "ab" for name in ("kernel", "bias")}
    source = {name: np.full(tensor.shape, 2, "f") for name, tensor in checkpoint.open(tmp_path / "net.h5").items()}
    assert source.keys() == values.keys()
    checkpoint.save(source, tmp_path / "model.json", how=Writing(like=tmp_path / "net.h5"))
    document = json.loads((tmp_path / "model.json").read_text())
    assert [layer["class_name"] for layer in document["modelTopology"]["model_config"]["config"]["layers"]] == [
        "InputLayer", "Dense", "Dense",
    ]  # fmt: skip
    with pytest.raises(PlanError, match=r"a/kernel is float32 \[1\], expected float32 \[6, 5\]"):
        checkpoint.save(values, tmp_path / "x.json", how=Writing(like=tmp_path / "net.h5"))
    with pytest.raises(PlanError, match=r"has no weight c/kernel"):
        checkpoint.save(
            {**source, "c/kernel": np.ones(1, "f")}, tmp_path / "x.json", how=Writing(like=tmp_path / "net.h5")
        )


@pytest.mark.parametrize(
    ("shape", "layer", "says"),
    [
        (STEPS, lambda: layers.Conv1D(3, 3, padding="causal"), "a Conv1D with padding = causal"),
        (STEPS, lambda: layers.GRU(3), "a GRU with reset_after = True"),
        (IMAGE, lambda: layers.BatchNormalization(axis=1), "a BatchNormalization with axis = 1"),
        (IMAGE, lambda: layers.DepthwiseConv2D(3, dilation_rate=2), r"dilation_rate = \[2, 2\]"),
        (IMAGE, lambda: layers.UpSampling2D(2, interpolation="bilinear"), "interpolation = bilinear"),
        (IMAGE, lambda: layers.GroupNormalization(2), "is a GroupNormalization, which TensorFlow.js does not have"),
        ((6,), lambda: layers.Dense(2, activation="hard_sigmoid"), "the activation hard_sigmoid"),
        ((6,), lambda: layers.Dense(2, dtype="float64"), "computes in float64"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_tensorflow_js_would_compute_otherwise_is_refused(tmp_path, shape, layer, says):
    made(lambda: net(shape, layer())).save(tmp_path / "net.keras")
    with pytest.raises(FormatError, match=says):
        checkpoint.save({}, tmp_path / "model.json", how=Writing(like=tmp_path / "net.keras"))
    assert not (tmp_path / "model.json").exists()


def test_backward_layers_of_their_own_and_calls_with_numbers_are_refused(tmp_path):
    two = layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2, activation="relu", go_backwards=True))
    made(lambda: net(STEPS, two)).save(tmp_path / "net.keras")
    with pytest.raises(FormatError, match="has a backward_layer of its own"):
        checkpoint.save({}, tmp_path / "model.json", how=Writing(like=tmp_path / "net.keras"))
    x = keras.Input((4,))
    keras.Model(x, x * 2.0).save(tmp_path / "sum.keras")
    with pytest.raises(FormatError, match=r"sum\.keras: "):
        checkpoint.save({}, tmp_path / "model.json", how=Writing(like=tmp_path / "sum.keras"))


def test_layers_of_one_name_in_two_models_are_refused(tmp_path):
    def head(name):
        inner = keras.Input((5,))
        return keras.Model(inner, layers.Dense(5, name="out")(inner), name=name)

    x = keras.Input((5,))
    made(lambda: keras.Model(x, head("two")(head("one")(x)))).save(tmp_path / "net.keras")
    with pytest.raises(FormatError, match="one/out/kernel and two/out/kernel would both be out/kernel"):
        checkpoint.save(checkpoint.open(tmp_path / "net.keras"), tmp_path / "model.json")
