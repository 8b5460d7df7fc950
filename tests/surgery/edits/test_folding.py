"""Parametrised weights made plain, compared with PyTorch's own removal."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune, remove_spectral_norm, spectral_norm, weight_norm

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.surgery.edits.folding import FoldParametrisations
from ckpttool.surgery.edits.steps import Step, apply


def plain(layer: nn.Module) -> nn.Module:
    """PyTorch's own removal, in evaluation mode."""
    layer.eval()
    if parametrize.is_parametrized(layer):
        return parametrize.remove_parametrizations(layer, "weight")
    for remove in (nn.utils.remove_weight_norm, remove_spectral_norm, lambda each: prune.remove(each, "weight")):
        try:
            return remove(layer)
        except ValueError:
            continue
    return layer


@pytest.mark.parametrize(
    "put_on",
    [
        parametrizations.weight_norm,
        lambda layer: parametrizations.weight_norm(layer, dim=1),
        parametrizations.spectral_norm,
        pytest.param(weight_norm, marks=pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")),
        spectral_norm,
        lambda layer: prune.random_unstructured(layer, "weight", 0.5),
    ],
)
@pytest.mark.parametrize(
    "make", [partial(nn.Linear, 4, 6), partial(nn.Conv2d, 3, 5, 3), partial(nn.ConvTranspose2d, 3, 5, 3)]
)
def test_weights_are_what_pytorch_leaves(
    tmp_path: Path, put_on: Callable[[nn.Module], nn.Module], make: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    layer = put_on(make())
    for _ in range(3):
        layer(torch.randn(2, 4) if isinstance(layer, nn.Linear) else torch.randn(2, 3, 8, 8))
    torch.save(nn.ModuleDict({"fc": layer, "other": nn.Linear(2, 2)}).state_dict(), tmp_path / "net.pt")
    folded = apply(checkpoint.open(tmp_path / "net.pt"), [Step("fold-parametrisations")]).tensors
    expected = nn.ModuleDict({"fc": plain(layer), "other": nn.Linear(2, 2)}).state_dict()
    assert {*folded} == {*expected}
    np.testing.assert_allclose(folded["fc.weight"].read(), expected["fc.weight"].numpy(), rtol=3e-6, atol=1e-6)


def test_what_cannot_be_folded_is_refused() -> None:
    with pytest.raises(UnknownName, match="no weight has weight norm"):
        FoldParametrisations().apply(Checkpoint.of({"fc.weight": np.ones((2, 2))}))
    with pytest.raises(PlanError, match=r"fc.weight_g: of an unknown parametrisation"):
        FoldParametrisations().apply(Checkpoint.of({"fc.weight_g": np.ones((2, 1))}))
    with pytest.raises(PlanError, match="it accepts no value"):
        FoldParametrisations.parse("fc")
