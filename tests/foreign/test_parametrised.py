"""Parametrised weights equal PyTorch's, whatever the layer, the form and the dimension."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations as new
from torch.nn.utils import parametrize, prune, spectral_norm, weight_norm

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.foreign.parametrised import resolved
from ckpttool.foreign.rules import Rule
from ckpttool.layouts import Transposed, parse_layout

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")

CASES: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: weight_norm(nn.Conv2d(3, 4, 3)),
    "conv_one_output": lambda: weight_norm(nn.Conv1d(3, 1, 3)),
    "conv_of_another_dimension": lambda: weight_norm(nn.Conv2d(3, 4, 3), dim=1),
    "wav2vec": lambda: new.weight_norm(nn.Conv1d(4, 4, 5, groups=2), dim=2),
    "transposed": lambda: new.weight_norm(nn.ConvTranspose2d(3, 4, 2)),
    "linear_as_a_whole": lambda: weight_norm(nn.Linear(3, 4), dim=None),
    "linear_as_a_whole_new": lambda: new.weight_norm(nn.Linear(3, 4), dim=None),
    "half": lambda: new.weight_norm(nn.Linear(3, 4).half()),
    "embedding": lambda: weight_norm(nn.Embedding(5, 3)),
    "spectral": lambda: spectral_norm(nn.Conv2d(3, 4, 3)),
    "spectral_new": lambda: new.spectral_norm(nn.Linear(4, 4)),
    "spectral_transposed": lambda: spectral_norm(nn.ConvTranspose2d(4, 4, 3)),
    "spectral_transposed_new": lambda: new.spectral_norm(nn.ConvTranspose1d(5, 5, 3)),
    "spectral_square": lambda: new.spectral_norm(nn.Conv2d(4, 4, 3)),
    "pruned": lambda: prune.random_unstructured(nn.Conv2d(3, 4, 3), "weight", 0.4),  # type: ignore[no-untyped-call]
}


@pytest.mark.parametrize("case", CASES)
def test_the_weight_of_a_layer(case: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = nn.ModuleDict({"a": nn.ModuleDict({"layer": CASES[case]()})})
    layer: Any = net["a"]["layer"]
    for module in net.modules():  # spectral normalisation takes a step of its iteration when it is called in training
        if parametrize.is_parametrized(module):
            assert module.weight is not None
    if case.startswith("spectral"):
        for hook in layer._forward_pre_hooks.values():
            hook(layer, None)
    with torch.no_grad():
        for value in net.parameters():
            value.mul_(1.3).add_(0.01)
    net.eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    for hook in layer._forward_pre_hooks.values():
        hook(layer, None)
    weights = resolved(checkpoint.open(tmp_path / "net.pt")).weights
    computed = weights["a.layer.weight"].read().astype(np.float64)
    close = 2e-3 if case == "half" else 1e-6
    np.testing.assert_allclose(computed, layer.weight.detach().double().numpy(), atol=close)
    assert {*weights} <= {"a.layer.weight", "a.layer.bias"}


def test_a_dimension_that_nothing_tells_is_asked_for(tmp_path: Path) -> None:
    """Of a layer that never computed anything: its u and v are random."""
    torch.manual_seed(1)
    layer = spectral_norm(nn.ConvTranspose2d(4, 4, 3))
    torch.save(nn.ModuleDict({"up": layer}).state_dict(), tmp_path / "up.pt")
    file = checkpoint.open(tmp_path / "up.pt")
    with pytest.raises(PlanError, match="u and v fit several dimensions of the weight"):
        resolved(file).weights["up.weight"].read()
    parts = [file[f"up.weight_{end}"].read() for end in ("orig", "u", "v")]
    (likely,) = resolved(file).laid_out({"up.weight": Transposed()}).select(r"up\.weight").values()
    for hook in layer.eval()._forward_pre_hooks.values():
        hook(layer, ())
    expected = layer.weight.detach().permute(2, 3, 1, 0)
    np.testing.assert_allclose(likely.read(), layer.weight.detach(), rtol=1e-5)  # as defined by its layer
    np.testing.assert_allclose(parse_layout("spectral_norm(transposed, dim=1)").apply(parts)[0], expected, rtol=1e-5)


def test_each_weight_of_a_recurrent_cell(tmp_path: Path) -> None:
    cell = nn.LSTM(3, 4)
    for name in ("weight_ih_l0", "weight_hh_l0"):
        cell = weight_norm(cell, name)
    plain = {name: getattr(cell, name).detach().numpy() for name in ("weight_ih_l0", "weight_hh_l0")}
    torch.save(cell.state_dict(), tmp_path / "cell.pt")
    weights = resolved(checkpoint.open(tmp_path / "cell.pt")).weights
    assert {*weights} == {*plain, "bias_ih_l0", "bias_hh_l0"}
    for name, expected in plain.items():
        np.testing.assert_allclose(weights[name].read(), expected, atol=1e-6)


def test_a_rule_may_take_all_parts_itself() -> None:
    """As those of TensorFlow Addons, whose magnitude is a vector and whose kernel has its outputs last."""
    magnitude, direction = np.array([2.0, 3.0]), np.array([[3.0, 0.0], [4.0, 5.0]])
    (kernel,) = parse_layout("weight_norm(dim=-1)").apply([magnitude, direction])
    np.testing.assert_allclose(kernel, direction / [5.0, 5.0] * magnitude)
    file = Checkpoint.of({"fc.weight_g": magnitude[:, None], "fc.weight_v": direction})
    rule = Rule((r"fc\.weight_g", r"fc\.weight_v"), "fc/kernel", transform="weight_norm(dense)")
    assert {*resolved(file, [rule]).weights} == {*file}
    with pytest.raises(PlanError, match=r"the rule .* matches fc.weight_v alone"):
        resolved(file, [Rule(r"fc\.weight_v", "fc/kernel")])


def test_names_that_only_look_like_parts_stay() -> None:
    file = Checkpoint.of({"lab_g": np.ones((3, 3)), "lab_v": np.ones((3, 3)), "lab_orig": np.ones(3)})
    assert resolved(file).weights is file


def test_two_parametrisations_of_one_weight_are_not_taken_for_one(tmp_path: Path) -> None:
    layer = new.spectral_norm(new.weight_norm(nn.Linear(3, 4)))
    torch.save(nn.ModuleDict({"fc": layer}).state_dict(), tmp_path / "two.pt")
    found = resolved(checkpoint.open(tmp_path / "two.pt"))
    assert not found.made
    with pytest.raises(PlanError, match=r"two\.pt: fc\.parametrizations\.weight\.original0 is a part"):
        found.require_whole("fc.parametrizations.weight.original0")
