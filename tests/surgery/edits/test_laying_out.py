"""Layouts of imports as edits, there and back."""

import numpy as np
import pytest
import torch

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.layouts import parse_layout
from ckpttool.surgery.edits.laying_out import LayOut, LayOutBack


def state(module: torch.nn.Module) -> Checkpoint:
    return Checkpoint.of({name: tensor.numpy() for name, tensor in module.state_dict().items()})


SHAPES = {
    "conv": (4, 6, 3, 3),
    "transposed": (4, 6, 3),
    "grouped(groups=2)": (4, 6, 3, 3),
    "depthwise(multiplier=2)": (8, 1, 3, 3),
    "dense": (6, 4),
    "flatten(channels=3)": (5, 12),
}


@pytest.mark.parametrize(("layout", "shape"), SHAPES.items())
def test_kernels_go_there_and_back(layout: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ckpt = Checkpoint.of({"a.weight": array, "b.weight": array})
    there = LayOut.parse(f"a.weight={layout}").apply(ckpt)
    np.testing.assert_array_equal(there["a.weight"].read(), parse_layout(layout).apply([array])[0])
    assert there["b.weight"] is ckpt["b.weight"]
    back = LayOutBack.parse(f"a.weight={layout}").apply(there)
    np.testing.assert_array_equal(back["a.weight"].read(), array)


def test_cells_of_each_layer_are_laid_out_together_under_new_names() -> None:
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(3, 4, num_layers=2, bias=False)
    old = r"weight_ih_l(\d) weight_hh_l(\d)"
    new = r"layer\1/kernel layer\1/recurrent_kernel"
    there = LayOut.parse(rf"{old} => {new} = lstm(torch, keras)").apply(state(lstm))
    assert {name: tensor.shape for name, tensor in there.items()} == {
        "layer0/kernel": (3, 16), "layer0/recurrent_kernel": (4, 16),
        "layer1/kernel": (4, 16), "layer1/recurrent_kernel": (4, 16),
    }  # fmt: skip
    names = r"layer(\d)/kernel layer(\d)/recurrent_kernel=>weight_ih_l\1 weight_hh_l\1"
    back = LayOutBack.parse(f"{names}=lstm(source=torch, target=keras)").apply(there)
    for name, tensor in lstm.state_dict().items():
        np.testing.assert_array_equal(back[name].read(), tensor.numpy())


def test_slots_of_what_keeps_its_name_go_along() -> None:
    kernel = np.ones((2, 3))
    found = LayOut.parse("fc/kernel=dense").apply(Checkpoint.of({"fc/kernel": kernel, "fc/kernel/Adam": kernel}))
    assert [tensor.shape for tensor in found.values()] == [(3, 2), (3, 2)]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("fc=conv", PlanError, r"fc.weight: conv: found \[2, 3\]"),
        ("no=dense", UnknownName, "matches nothing"),
        ("fc.weight=densely", UnknownName, "no layout densely; known: .*nearest: dense"),
        ("fc.weight", PlanError, "expected 'RE=LAYOUT'"),
        ("fc.weight fc.bias=dense", PlanError, "as many patterns as the layout has inputs"),
        ("fc.weight=> =dense", PlanError, "expected 'RE=LAYOUT'"),
        ("fc.weight=>a b=dense", PlanError, "dense makes 1 tensors, but there are 2 names"),
        (r"fc.weight=>fc\1=dense", PlanError, "has a group that 'fc.weight' lacks"),
        ("x=>y=dense", UnknownName, "nothing matches x"),
        ("fc.weight x=>a b=lstm(torch, keras)", PlanError, "'x' matches nothing that belongs to fc.weight"),
        ("fc.* x=>a b=lstm(torch, keras)", PlanError, "matches fc.weight and fc.bias with the same"),
        ("fc.weight=>other=dense", PlanError, "other would be there twice"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, error: type[CkptError], message: str) -> None:
    ckpt = Checkpoint.of({"fc.weight": np.zeros((2, 3)), "fc.bias": np.zeros(2), "other": np.zeros(1)})
    with pytest.raises(error, match=message):
        LayOut.parse(text).apply(ckpt)
