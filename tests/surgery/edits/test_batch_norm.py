"""Batch normalisations folded into the layers before them; PyTorch's and Keras's own layers are the references."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.surgery.edits.batch_norm import FoldBatchNorm
from ckpttool.surgery.edits.steps import Step, apply


def trained(norm: nn.Module) -> nn.Module:
    """A normalisation whose parameters are not defaults."""
    for part in norm.state_dict().values():
        if part.is_floating_point():
            part.copy_(torch.rand_like(part) + 0.5)
    return norm


class Block(nn.Module):
    """A bottleneck with torchvision's names of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, bias=False)
        self.bn1 = trained(nn.BatchNorm2d(8))
        self.conv2 = nn.Conv2d(8, 8, 3, groups=8)
        self.bn2 = trained(nn.BatchNorm2d(8))
        self.downsample = nn.Sequential(nn.Conv2d(3, 6, 1), trained(nn.BatchNorm2d(6, eps=1e-3)))


def fused(block: Block) -> dict[str, torch.Tensor]:
    block.eval()
    pairs = [("conv1", "bn1"), ("conv2", "bn2"), ("downsample.0", "downsample.1")]
    return {
        f"{conv}.{name}": tensor
        for conv, norm in pairs
        for name, tensor in fuse_conv_bn_eval(block.get_submodule(conv), block.get_submodule(norm)).state_dict().items()
    }


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_layers_of_pytorch_are_paired_by_their_names(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(0)
    block = Block()
    block.downsample[1].eps = 1e-5
    path = tmp_path / f"net.{suffix}"
    torch.save(block.state_dict(), path) if suffix == "pt" else save_file(block.state_dict(), path)
    edited = apply(checkpoint.open(path), [Step("fold-batch-norm")])
    expected = fused(block)
    assert {*edited.tensors} == {*expected}
    for name, tensor in expected.items():
        np.testing.assert_allclose(edited.tensors[name].read(), tensor.detach().numpy(), rtol=2e-6, atol=1e-6)
    assert edited.remarks[0].startswith(
        "3 batch normalisations folded, paired by their names, assuming that nothing is "
    )
    assert edited.remarks[1] == "epsilon 1e-05 is assumed, the default, as the file does not specify it; `epsilon` does"


def test_pairs_and_an_epsilon_are_given(tmp_path: Path) -> None:
    torch.manual_seed(0)
    block = Block()
    torch.save(block.state_dict(), tmp_path / "net.pt")
    text = r"downsample.0=downsample.1, epsilon=1e-3"
    edited = apply(checkpoint.open(tmp_path / "net.pt"), [Step("fold-batch-norm", text), Step("fold-batch-norm")])
    for name, tensor in fused(block).items():
        np.testing.assert_allclose(edited.tensors[name].read(), tensor.detach().numpy(), rtol=2e-6, atol=1e-6)
    assert edited.remarks[0] == "1 batch normalisation folded: downsample.0.weight with downsample.1"


def test_dense_layers_and_transposed_convolutions() -> None:
    torch.manual_seed(0)
    dense, deconv = nn.Linear(4, 5), nn.ConvTranspose2d(3, 5, 2)
    norm, norm_2d = trained(nn.BatchNorm1d(5)).eval(), trained(nn.BatchNorm2d(5)).eval()
    for text, layer, own, expected in [
        ("fc=bn", dense, norm, fuse_linear_bn_eval(dense.eval(), norm)),
        ("fc=bn, axis=1", deconv, norm_2d, fuse_conv_bn_eval(deconv.eval(), norm_2d, transpose=True)),
    ]:
        parts = nn.ModuleDict({"fc": layer, "bn": own}).state_dict()
        ckpt = Checkpoint.of({name: part.numpy() for name, part in parts.items()})
        folded = FoldBatchNorm.parse(text).apply(ckpt)
        np.testing.assert_allclose(folded["fc.weight"].read(), expected.weight.detach().numpy(), rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(folded["fc.bias"].read(), expected.bias.detach().numpy(), rtol=2e-6, atol=1e-6)


def keras_network(activation: str | None = None, plain: bool = False) -> keras.Model:
    """Kinds of layers each followed by a normalisation, or with `plain` without, and with all biases."""
    keras.utils.set_random_seed(0)
    layers = keras.layers

    def normalised(x: keras.KerasTensor, name: str, **options: Any) -> keras.KerasTensor:
        return x if plain else layers.BatchNormalization(name=name, **options)(x)

    image = keras.Input((12, 12, 3))
    x = normalised(layers.Conv2D(8, 3, use_bias=plain, name="first")(image), "second", epsilon=1e-2)
    x = normalised(layers.DepthwiseConv2D(3, depth_multiplier=2, activation=activation, name="deep")(x), "third")
    x = normalised(layers.SeparableConv2D(4, 3, name="apart")(x), "fourth", scale=False)
    x = layers.Flatten()(normalised(layers.Conv2DTranspose(4, 3, name="wide")(x), "fifth"))
    model = keras.Model(image, normalised(layers.Dense(5, name="dense")(x), "sixth", center=False))
    draw = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([draw.uniform(0.5, 1.5, each.shape) for each in layer.get_weights()])
    return model


def test_a_network_of_keras_says_what_stands_before_each_and_its_epsilon(tmp_path: Path) -> None:
    model = keras_network()
    model.save(tmp_path / "net.keras")
    edited = apply(checkpoint.open(tmp_path / "net.keras"), [Step("fold-batch-norm")])
    first = "first/kernel with second, deep/kernel with third, apart/pointwise_kernel with fourth and 2 more"
    assert edited.remarks == (f"5 batch normalisations folded: {first}",)
    folded = edited.tensors
    assert not [name for name in folded if "moving" in name]

    without = keras_network(plain=True)
    for layer in without.layers:
        layer.set_weights([folded[f"{layer.name}/{weight.name}"].read() for weight in layer.weights])
    images = np.random.default_rng(2).normal(size=(4, 12, 12, 3)).astype(np.float32)
    expected = model.predict(images, verbose=0)
    np.testing.assert_allclose(without.predict(images, verbose=0), expected, atol=1e-5 * np.abs(expected).max())


def test_an_activation_in_between_is_no_pair(tmp_path: Path) -> None:
    keras_network("relu").save(tmp_path / "net.keras")
    with pytest.raises(PlanError, match=r"the network does not determine which .* by third;"):
        FoldBatchNorm().apply(checkpoint.open(tmp_path / "net.keras"))
    # unknown for a weights file
    keras_network("relu").save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(PlanError, match="the names do not determine"):
        FoldBatchNorm().apply(checkpoint.open(tmp_path / "net.weights.h5"))


STATISTICS = ("weight", "bias", "running_mean", "running_var")


def state(**shapes: tuple[int, ...]) -> Checkpoint:
    """Layers with kernels and normalisations, by their names and the shapes of their kernels or statistics."""
    names = [(name, part) for name, shape in shapes.items() for part in (STATISTICS if len(shape) == 1 else ["weight"])]
    return Checkpoint.of({f"{name}.{part}": np.ones(shapes[name], np.float32) for name, part in names})


CONV = state(conv1=(4, 2, 1, 1), bn1=(4,))


@pytest.mark.parametrize(
    ("ckpt", "text", "error", "message"),
    [
        (state(conv1=(4, 2, 1, 1)), "", UnknownName, "there is no batch normalisation"),
        # a normalisation before its convolution has other channels, or no partner
        (state(conv1=(8, 4, 1, 1), bn1=(4,)), "", PlanError, "the names do not determine which layer.* by bn1"),
        (state(conv1=(4, 4, 1, 1), bn1=(4,), bn_last=(4,)), "", PlanError, "by bn_last; specify pairs"),
        (state(conv_dw=(4, 1, 3, 3), conv_pw=(4, 4, 1, 1), bn1=(4,)), "", PlanError, "by bn1"),
        (CONV, "conv1=bn2", UnknownName, "no batch normalisation is named bn2; nearest: bn1"),
        (CONV, r"conv1=bn\1", PlanError, "has a group that 'conv1' lacks"),
        (CONV, "conv2=bn1", UnknownName, "matches no layer with a kernel.*conv1"),
        (state(conv1=(6, 2, 1, 1), bn1=(4,)), "conv1=bn1", PlanError, r"\[6, 2, 1, 1\]: no axis .* 4 channels of bn1"),
        (CONV, "conv1=bn1, axis=7", PlanError, "no axis "),
        (state(upconv=(4, 4, 1, 1), bn1=(4,)), "upconv=bn1", PlanError, "may be of a transposed convolution: `axis=1`"),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused(ckpt: Checkpoint, text: str, error: type[CkptError], message: str) -> None:
    with pytest.raises(error, match=message):
        FoldBatchNorm.parse(text).apply(ckpt)


@pytest.mark.parametrize("text", ["conv1", "conv1=", "=bn1", "epsilon=-1", "conv1=bn1, axis=0.5", "epsilon=small"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(PlanError):
        FoldBatchNorm.parse(text)


def test_a_variance_without_a_root_is_an_error_when_it_is_read() -> None:
    bad = Checkpoint.of({**CONV, "bn1.running_var": np.full(4, -1, np.float32)})
    with pytest.raises(
        PlanError, match=r"bn1.running_var: -0.99999 plus epsilon is not positive, so it has no square root"
    ):
        FoldBatchNorm().apply(bad)["conv1.weight"].read()


def test_modules_of_pytorch_in_another_order_are_no_pair(tmp_path: Path) -> None:
    blocks = {
        "bn1": nn.BatchNorm2d(4),
        "conv1": nn.Conv2d(4, 4, 1),
        "bn2": nn.BatchNorm2d(4),
        "conv2": nn.Conv2d(4, 4, 1),
    }
    torch.save(nn.ModuleDict(blocks).state_dict(), tmp_path / "preact.pt")
    with pytest.raises(PlanError, match="by bn1;"):
        FoldBatchNorm().apply(checkpoint.open(tmp_path / "preact.pt"))
    torch.save(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).state_dict(), tmp_path / "relu.pt")
    with pytest.raises(PlanError, match="by 2;"):
        FoldBatchNorm().apply(checkpoint.open(tmp_path / "relu.pt"))


def test_slots_stay_in_nobody_s_way() -> None:
    kernel, vector = np.ones((1, 2)), np.ones(2)
    arrays = {"c/kernel": kernel, "c/kernel/Momentum": kernel, "b/moving_mean": vector, "b/moving_variance": vector}
    with pytest.raises(PlanError, match=r"c/kernel/Momentum is a slot of what is folded, .* `drop-slots` before"):
        FoldBatchNorm.parse("c=b").apply(Checkpoint.of(arrays))
