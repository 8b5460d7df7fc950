"""Weights of one framework in a file of another, there and back: both frameworks have equal outputs with them."""

from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ckpttool
from ckpttool import checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.verbs.convert import plan_convert

FINAL = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"


class Net(nn.Module):
    """Kinds of layers whose layouts differ in Keras; a flattened image has its channels first here."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.conv2 = nn.Conv2d(8, 8, 1)
        self.fc1 = nn.Linear(8 * 4 * 4, 24)
        self.lstm = nn.LSTM(24, 10, batch_first=True)
        self.gru = nn.GRU(10, 6, batch_first=True)
        self.fc2 = nn.Linear(6, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(images)))
        x = nn.functional.max_pool2d(torch.relu(self.conv2(self.depthwise(x))), 2)
        x, _ = self.lstm(torch.relu(self.fc1(x.flatten(1)))[:, None])
        return self.fc2(self.gru(x)[0][:, -1])


def keras_net() -> keras.Model:
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="bn1")(layers.Conv2D(8, 3, padding="same", name="conv1")(image))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(layers.ReLU()(x))
    x = layers.MaxPooling2D()(layers.Conv2D(8, 1, activation="relu", name="conv2")(x))
    x = layers.Dense(24, activation="relu", name="fc1")(layers.Flatten()(x))
    x = layers.LSTM(10, return_sequences=True, name="lstm")(layers.Reshape((1, 24))(x))
    return keras.Model(image, layers.Dense(5, name="fc2")(layers.GRU(6, name="gru")(x)))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)


def scores(net: nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.fixture
def net(tmp_path: Path) -> Net:
    torch.manual_seed(0)
    net = Net()
    for part in (net.bn1.running_mean, net.bn1.running_var, net.bn1.weight, net.bn1.bias):
        part.data.uniform_(0.5, 1.5)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    return net


def test_a_network_goes_to_keras_and_back(tmp_path: Path, net: Net, images: np.ndarray) -> None:
    keras.utils.set_random_seed(1)
    model = keras_net()
    model.save(tmp_path / "model.keras")
    there = ckpttool.convert(tmp_path / "net.pt", tmp_path / "out.keras", like=tmp_path / "model.keras")
    assert there.notes[0].startswith("the epsilon of batch normalisations is 1e-05 in the source ")
    assert there.notes[1].startswith("assumed: the source flattens [channels, height, width] before fc1.weight")
    expected = scores(net, images)
    found = keras.models.load_model(tmp_path / "out.keras").predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    ckpttool.convert(tmp_path / "model.keras", tmp_path / "back.safetensors", like=tmp_path / "net.pt")
    again = Net()
    again.load_state_dict(load_file(tmp_path / "back.safetensors"))
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(scores(again, images), expected, atol=1e-5 * np.abs(expected).max())


def mlp(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The chapter's network with PyTorch's names and layouts."""
    torch.manual_seed(0)
    own = checkpoint.open(FINAL)
    names = [name.removesuffix("/kernel") for name in own if name.endswith("/kernel")]
    kernels = {f"{name}.weight": torch.randn(own[f"{name}/kernel"].shape[::-1]).to(dtype) for name in names}
    return kernels | {f"{name}.bias": torch.randn(own[f"{name}/bias"].shape).to(dtype) for name in names}


def test_a_graph_tells_its_layouts_square_kernels_too(tmp_path: Path) -> None:
    tensors = mlp()
    save_file(tensors, tmp_path / "mlp.safetensors")
    ckpttool.convert(tmp_path / "mlp.safetensors", tmp_path / "there.ckpt", like=FINAL)
    there = checkpoint.open(tmp_path / "there.ckpt")
    assert {*there} == {*checkpoint.open(FINAL)}
    np.testing.assert_array_equal(there["hidden4/kernel"].read(), tensors["hidden4.weight"].numpy().T)
    ckpttool.convert(FINAL, tmp_path / "back.safetensors", like=tmp_path / "mlp.safetensors")
    np.testing.assert_array_equal(
        load_file(tmp_path / "back.safetensors")["hidden4.weight"].numpy(),
        checkpoint.open(FINAL)["hidden4/kernel"].read().T,
    )


def test_dtypes_of_the_other_file_are_taken_and_said(tmp_path: Path) -> None:
    save_file(mlp(torch.float16), tmp_path / "half.safetensors")
    plan = plan_convert(tmp_path / "half.safetensors", "bundle", like=FINAL)
    assert {str(tensor.dtype) for tensor in plan.tensors.values()} == {"float32"}
    assert plan.notes[0].startswith("cast to the dtypes of the other file: hidden1.bias (float16 and float32), ")


def test_what_is_open_or_has_no_counterpart_is_refused_or_said(tmp_path: Path) -> None:
    tensors = mlp()
    save_file({**tensors, "extra.weight": torch.ones(7, 3)}, tmp_path / "more.safetensors")
    with pytest.raises(PlanError, match=r"extra.weight \[7, 3\]: no variable fits; `lenient` leaves such tensors"):
        plan_convert(tmp_path / "more.safetensors", "bundle", like=FINAL)
    plan = plan_convert(tmp_path / "more.safetensors", "bundle", like=FINAL, lenient=True)
    assert any("extra.weight" in note for note in plan.notes)
    # without a network on either side square kernels fit either way
    values = {name: tensor.read() for name, tensor in checkpoint.open(FINAL).items() if "hidden4" in name}
    checkpoint.save(values, tmp_path / "bare.npz")
    four = {name: tensor for name, tensor in tensors.items() if "hidden4" in name}
    save_file(four, tmp_path / "four.safetensors")
    with pytest.raises(PlanError, match=r"hidden4/kernel: hidden4.weight fits as dense and as keep"):
        plan_convert(tmp_path / "four.safetensors", "npz", like=tmp_path / "bare.npz")


def test_a_file_of_the_same_names_gives_its_structure_as_before(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    for name in ("one", "other"):
        keras_net().save(tmp_path / f"{name}.keras")
    made = ckpttool.convert(tmp_path / "one.keras", tmp_path / "out.keras", like=tmp_path / "other.keras")
    assert not [note for note in made.notes if "assumed" in note]


class Named(nn.Module):
    """A network whose parameters have a Keras model's names, as saved by programs that rename but do not transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.hidden = nn.Conv2d(3, 6, 3), nn.Linear(6, 6)
        self.outputs = nn.Linear(6, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(images)).mean((2, 3))
        return self.outputs(torch.relu(self.hidden(x)))

    def named(self) -> dict[str, torch.Tensor]:
        """The weights by Keras's names, each in PyTorch's layout; `hidden` is square."""
        return {name.replace(".weight", "/kernel").replace(".", "/"): w for name, w in self.state_dict().items()}


def keras_named() -> keras.Model:
    layers = keras.layers
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu", name="conv")(image))
    return keras.Model(image, layers.Dense(4, name="outputs")(layers.Dense(6, activation="relu", name="hidden")(x)))


def test_layouts_of_the_other_framework_under_the_same_names(tmp_path: Path, images: np.ndarray) -> None:
    torch.manual_seed(3)
    net = Named()
    save_file(net.named(), tmp_path / "net.safetensors")
    keras.utils.set_random_seed(1)
    model = keras_named()
    model.save(tmp_path / "model.keras")
    ckpttool.convert(tmp_path / "net.safetensors", tmp_path / "out.keras", like=tmp_path / "model.keras")
    expected = scores(net, images)
    found = keras.models.load_model(tmp_path / "out.keras").predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
    ckpttool.convert(tmp_path / "model.keras", tmp_path / "back.safetensors", like=tmp_path / "net.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    net.load_state_dict({name: back[new] for name, new in zip(net.state_dict(), net.named(), strict=True)})
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(scores(net, images), expected, atol=1e-5 * np.abs(expected).max())


def test_another_size_is_no_other_layout(tmp_path: Path) -> None:
    save_file({**Named().named(), "outputs/kernel": torch.ones(5, 6)}, tmp_path / "five.safetensors")
    keras_named().save(tmp_path / "model.keras")
    with pytest.raises(PlanError, match=r"conv/kernel is \[6, 3, 3, 3\], its place in .*model.keras is"):
        plan_convert(tmp_path / "five.safetensors", "keras", like=tmp_path / "model.keras").write(tmp_path / "x.keras")
