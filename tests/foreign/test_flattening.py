"""Dense layers behind flattened images, as PyTorch and Keras have them: both compute the same, or it is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

import ckpttool
from ckpttool.core.errors import PlanError

IMAGES = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype(np.float32)


class Branches(nn.Module):
    """Two convolutions whose images are joined, before they are flattened or afterwards."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 6, 5, padding=2)
        self.fc = nn.Linear(10 * 36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.a(x), self.b(x)]
        return self.fc(torch.cat([each.flatten(1) for each in parts] if self.flat else parts, 1).flatten(1))


def branches(x: Any, flat: bool) -> Any:
    parts = [layers.Conv2D(4, 3, padding="same", name="a")(x), layers.Conv2D(6, 5, padding="same", name="b")(x)]
    joined = layers.Concatenate()([layers.Flatten()(each) for each in parts] if flat else parts)
    return joined if flat else layers.Flatten()(joined)


def conv(x: Any, filters: int = 4) -> Any:
    return layers.Conv2D(filters, 3, padding="same", name="conv")(x)


def normalised(x: Any) -> Any:
    return layers.BatchNormalization(epsilon=1e-5, name="bn")(layers.Flatten()(conv(x)))


def torch_conv(filters: int = 4) -> nn.Module:
    return nn.Conv2d(3, filters, 3, padding=1)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], Any], int]] = {
    "the image itself": (nn.Identity, layers.Flatten(), 3),
    "depthwise": (
        lambda: nn.Sequential(torch_conv(), nn.Conv2d(4, 8, 3, padding=1, groups=4)),
        lambda x: layers.Flatten()(layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="deep")(conv(x))),
        8,
    ),
    "grouped": (
        lambda: nn.Sequential(torch_conv(), nn.Conv2d(4, 6, 3, padding=1, groups=2)),
        lambda x: layers.Flatten()(layers.Conv2D(6, 3, groups=2, padding="same", name="deep")(conv(x))),
        6,
    ),
    "transposed": (
        lambda: nn.Sequential(torch_conv(), nn.ConvTranspose2d(4, 6, 1)),
        lambda x: layers.Flatten()(layers.Conv2DTranspose(6, 1, name="deep")(conv(x))),
        6,
    ),
    "channels first": (torch_conv, lambda x: layers.Flatten()(layers.Permute((3, 1, 2))(conv(x))), 4),
    "normalised": (
        lambda: nn.Sequential(torch_conv(), nn.Flatten(), nn.BatchNorm1d(4 * 36)),
        normalised,
        4,
    ),
}


def saved(folder: Path, live: nn.Module, units: Callable[[Any], Any]) -> Any:
    """Save the weights of a PyTorch module, and a Keras network with other weights; return the module's outputs."""
    torch.manual_seed(1)
    for tensor in live.state_dict().values():
        tensor.copy_(torch.rand_like(tensor.float()) + 0.5)
    torch.save(live.state_dict(), folder / "net.pt")
    given = keras.Input(IMAGES.shape[1:])
    keras.Model(given, layers.Dense(5, name="fc")(units(given))).save(folder / "like.keras")
    with torch.no_grad():
        return live.eval()(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())).numpy()


def converted_outputs(folder: Path) -> Any:
    ckpttool.convert(folder / "net.pt", folder / "made.keras", like=folder / "like.keras")
    return keras.models.load_model(folder / "made.keras").predict(IMAGES, verbose=0)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_rows_of_a_kernel_are_in_the_order_of_the_flattened_image(kind: str, tmp_path: Path) -> None:
    make, units, channels = NETWORKS[kind]
    live = nn.Sequential(make(), nn.Flatten(), nn.Linear(channels * 36, 5))
    expected = saved(tmp_path, live, units)
    np.testing.assert_allclose(converted_outputs(tmp_path), expected, rtol=1e-4)
    ckpttool.convert(tmp_path / "made.keras", tmp_path / "back.safetensors", like=tmp_path / "net.pt")
    assert ckpttool.diff(tmp_path / "net.pt", tmp_path / "back.safetensors").equal


def test_images_may_be_joined_before_they_are_flattened(tmp_path: Path) -> None:
    expected = saved(tmp_path, Branches(flat=False), lambda x: branches(x, flat=False))
    np.testing.assert_allclose(converted_outputs(tmp_path), expected, rtol=1e-4)


def test_no_layout_is_guessed_for_images_that_are_joined_flat(tmp_path: Path) -> None:
    saved(tmp_path, Branches(flat=True), lambda x: branches(x, flat=True))
    with pytest.raises(PlanError, match=r"fc/kernel \[360, 5\]: no tensor fits"):
        converted_outputs(tmp_path)


@pytest.mark.parametrize("between", [[], [layers.ReLU()]])
def test_units_that_are_normalised_in_groups_are_no_image(tmp_path: Path, between: list[layers.Layer]) -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(3, 12, eps=1e-3)
    live = nn.Sequential(nn.Linear(6, 12), norm, *[nn.ReLU() for _ in between], nn.Linear(12, 4))
    nn.init.normal_(norm.weight)
    torch.save(live.state_dict(), tmp_path / "net.pt")
    given = keras.Input((6,))
    units = layers.GroupNormalization(3, name="norm")(layers.Dense(12, name="fc1")(given))
    for layer in between:
        units = layer(units)
    keras.Model(given, layers.Dense(4, name="fc2")(units)).save(tmp_path / "like.keras")
    rows = IMAGES.reshape(-1, 6)
    ckpttool.convert(tmp_path / "net.pt", tmp_path / "made.keras", like=tmp_path / "like.keras")
    made = keras.models.load_model(tmp_path / "made.keras").predict(rows, verbose=0)
    np.testing.assert_allclose(made, live(torch.from_numpy(rows)).detach().numpy(), atol=1e-5)
