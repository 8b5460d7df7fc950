"""Epsilons of layer and group normalisations: Keras computes the difference, a note names the layers."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import ckpttool
from ckpttool import checkpoint
from ckpttool.foreign.suggest import suggest
from ckpttool.model.graphs import graph_to_fill
from ckpttool.verbs.import_weights import plan_import


class Net(torch.nn.Module):
    """A layer normalisation of small numbers, for which the epsilon matters, and a group normalisation."""

    def __init__(self, epsilon: float = 1e-5) -> None:
        """Make the layers."""
        super().__init__()
        self.first = torch.nn.Linear(6, 8)
        self.norm = torch.nn.LayerNorm(8, epsilon)
        self.groups = torch.nn.GroupNorm(2, 8, epsilon)

    def forward(self, x: Any) -> Any:
        """Return the normalised numbers."""
        return self.groups(0.01 * self.norm(self.first(x)))


def keras_net(epsilon: float) -> keras.Model:
    inputs = keras.Input((6,))
    x = keras.layers.LayerNormalization(epsilon=epsilon, name="norm")(keras.layers.Dense(8, name="first")(inputs))
    x = keras.layers.GroupNormalization(2, epsilon=epsilon, name="groups")(keras.layers.Rescaling(0.01)(x))
    return keras.Model(inputs, x)


ROWS = (0.02 * np.random.default_rng(0).normal(size=(4, 6))).astype(np.float32)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_an_epsilon_that_no_weights_compensate_for_is_named(tmp_path: Path, epsilon: float, back: bool) -> None:
    torch.manual_seed(0)
    net = Net()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    keras_net(epsilon).save(tmp_path / "model.keras")
    paths = [tmp_path / "net.pt", tmp_path / "model.keras"]
    source, like = reversed(paths) if back else paths
    made = ckpttool.convert(source, tmp_path / ("out.pt.npz" if back else "out.keras"), like=like)
    named = [note for note in made.notes if "no weights compensate" in note]
    if not back:
        found = keras.models.load_model(tmp_path / "out.keras")(ROWS).numpy()
        is_equal = np.allclose(found, net(torch.tensor(ROWS)).detach().numpy(), atol=1e-3 * abs(found).max())
        assert is_equal == (not named)
    assert len(named) == (epsilon == 1e-3)
    assert all(note.endswith("0.001 in the graph; no weights compensate for another epsilon, so both networks must "
                             "have the same: norm, groups") for note in named)  # fmt: skip


def test_an_import_names_it_too(tmp_path: Path) -> None:
    torch.save(Net(1e-3).state_dict(), tmp_path / "net.pt")
    keras_net(1e-3).export(tmp_path / "model", verbose=False)
    graph, *_ = graph_to_fill(tmp_path / "model", computes=True)
    rules = suggest(checkpoint.open(tmp_path / "net.pt"), graph).rules()
    plan = plan_import(tmp_path / "net.pt", tmp_path / "model", rules=rules)
    assert "no weights compensate for another epsilon" in plan.notes[-1]
