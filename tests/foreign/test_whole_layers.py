"""Layers that are converted as a whole: recurrent stacks, directions and attentions, between PyTorch and Keras."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ckpttool
from ckpttool.foreign.whole_layers import LayerOrder, arranged

K = keras.layers
ROWS = np.random.default_rng(0).normal(size=(4, 7, 8)).astype(np.float32)


class Recurrent(torch.nn.Module):
    """Recurrent layers of eight units on eight features, so that kernels have the shape of recurrent kernels."""

    def __init__(self, kind: Any, layers: int, both: bool) -> None:
        """Make the layers."""
        super().__init__()
        self.rnn = kind(8, 8, layers, batch_first=True, bidirectional=both)
        self.fc = torch.nn.Linear(16 if both else 8, 3)

    def forward(self, x: Any) -> Any:
        """Return scores for each step."""
        return self.fc(self.rnn(x)[0])


def keras_stack(kind: Any, layers: int, both: bool) -> keras.Model:
    """The same in nested calls, for which Keras numbers the layers from the last to the first."""
    made = [kind(8, return_sequences=True) for _ in range(layers)][::-1]
    x = inputs = keras.Input((7, 8))
    for layer in made:
        x = (K.Bidirectional(layer) if both else layer)(x)
    return keras.Model(inputs, K.Dense(3)(x))


def assert_converts(folder: Path, module: torch.nn.Module, model: keras.Model, again: torch.nn.Module) -> list[str]:
    """Check the outputs of both directions, each against the network that the weights are from; return the notes."""
    torch.save(module.eval().state_dict(), folder / "net.pt")
    model.save(folder / "model.keras")
    made = ckpttool.convert(folder / "net.pt", folder / "out.keras", like=folder / "model.keras")
    expected = module(torch.tensor(ROWS)).detach().numpy()
    found = keras.models.load_model(folder / "out.keras")(ROWS).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())
    ckpttool.convert(folder / "model.keras", folder / "back.safetensors", like=folder / "net.pt")
    again.load_state_dict(load_file(folder / "back.safetensors"))
    expected = model(ROWS).numpy()
    np.testing.assert_allclose(
        again.eval()(torch.tensor(ROWS)).detach().numpy(), expected, atol=1e-5 * abs(expected).max()
    )
    return list(made.notes)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(("theirs", "ours"), [(torch.nn.LSTM, K.LSTM), (torch.nn.GRU, K.GRU)])
def test_a_stack_goes_by_the_order_of_the_data_not_by_keras_s_numbers(
    tmp_path: Path, theirs: Any, ours: Any, both: bool
) -> None:
    torch.manual_seed(0)
    keras.utils.set_random_seed(1)
    module, again = (Recurrent(theirs, 2, both) for _ in range(2))
    notes = assert_converts(tmp_path, module, keras_stack(ours, 2, both), again)
    assert any("2 pairs go by the order of the tensors alone" in note for note in notes) == (not both)


class Attending(torch.nn.Module):
    """Two attentions of three heads, one after the other, as MultiheadAttention or with separate projections."""

    def __init__(self, split: bool) -> None:
        """Make the layers."""
        super().__init__()
        self.first = torch.nn.Linear(8, 12)
        if split:
            self.layers = torch.nn.ModuleList(Split() for _ in range(2))
        else:
            self.layers = torch.nn.ModuleList(torch.nn.MultiheadAttention(12, 3, batch_first=True) for _ in range(2))

    def forward(self, x: Any) -> Any:
        """Return the outputs of the last attention."""
        x = self.first(x)
        for layer in self.layers:
            x = x + (layer(x) if isinstance(layer, Split) else layer(x, x, x, need_weights=False)[0])
        return x


class Split(torch.nn.Module):
    """An attention with a projection each for query, key and value."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (torch.nn.Linear(12, 12) for _ in range(4))

    def forward(self, x: Any) -> Any:
        """Return what MultiheadAttention does."""
        q, k, v = (each(x).unflatten(-1, (3, 4)).transpose(1, 2) for each in (self.q_proj, self.k_proj, self.v_proj))
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(attended.transpose(1, 2).flatten(-2))


@pytest.mark.parametrize("split", [False, True])
def test_attentions_go_to_keras_and_back(tmp_path: Path, split: bool) -> None:
    torch.manual_seed(0)
    keras.utils.set_random_seed(1)
    inputs = keras.Input((7, 8))
    x = K.Dense(12)(inputs)
    for _ in range(2):
        x = K.Add()([x, K.MultiHeadAttention(3, 4)(x, x)])
    for model in (module := Attending(split), again := Attending(split)):
        for name, value in model.named_parameters():
            torch.nn.init.normal_(value, std=0.3) if name.endswith("bias") else None
    model = keras.Model(inputs, x)
    for weight in model.weights:
        weight.assign(0.3 * np.random.default_rng(weight.shape[0]).normal(size=weight.shape))
    assert_converts(tmp_path, module, model, again)


class Numbered(torch.nn.Module):
    """Layers of one shape, the last without a number in its name."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.fc1, self.norm1, self.fc2, self.norm2 = (part for _ in range(2) for part in self.pair())
        self.fc, self.norm = self.pair()

    def pair(self) -> tuple[torch.nn.Module, torch.nn.Module]:
        """Return a layer and its normalisation."""
        return torch.nn.Linear(8, 8), torch.nn.LayerNorm(8)

    def forward(self, x: Any) -> Any:
        """Return the numbers of the last normalisation."""
        return self.norm(self.fc(self.norm2(self.fc2(self.norm1(self.fc1(x))))))


def test_numbers_that_keras_gives_by_itself_are_not_those_of_pytorch_s_names(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((7, 8))
    for _ in range(3):  # layer_normalization, layer_normalization_1, layer_normalization_2
        x = K.LayerNormalization(epsilon=1e-5)(K.Dense(8)(x))
    module, again = Numbered(), Numbered()
    for norm in (module.norm, module.norm1, module.norm2):
        torch.nn.init.normal_(norm.weight)
    model = keras.Model(inputs, x)
    for seed, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(seed).normal(size=weight.shape))
    assert_converts(tmp_path, module, model, again)


def always(_names: Any) -> bool:
    return True


def test_directions_and_names_distinguish_layers_and_what_nothing_does_is_skipped() -> None:
    def layers(*names: str) -> list[tuple[str, ...]]:
        return [(name,) for name in names]

    def found(ours: list[Any], theirs: list[Any], chained: Callable[..., bool] = always) -> list[Any]:
        fits = [(one, other) for one in ours for other in theirs]
        return [(one[0], other[0], by_order) for one, other, by_order in arranged(fits, LayerOrder(False, chained))]

    ours = layers("rnn.weight_ih_l0", "rnn.weight_ih_l0_reverse")
    theirs = layers("bidirectional/backward_lstm/kernel", "bidirectional/forward_lstm/kernel")
    assert found(ours, theirs) == [
        ("rnn.weight_ih_l0", "bidirectional/forward_lstm/kernel", False),
        ("rnn.weight_ih_l0_reverse", "bidirectional/backward_lstm/kernel", False),
    ]
    assert found(ours, layers("a/kernel", "b/kernel")) == []  # which is the reverse one?
    ours = layers("encoder.weight_ih_l0", "decoder.weight_ih_l0")
    theirs = layers("decoder/lstm_cell/kernel", "encoder/lstm_cell/kernel")
    assert [pair[1] for pair in found(ours, theirs)] == [theirs[1][0], theirs[0][0]]
    assert found(ours, layers("a/kernel", "b/kernel"), lambda names: False) == []
    assert found(ours, layers("a/kernel", "b/kernel")) == [
        ("encoder.weight_ih_l0", "a/kernel", True),
        ("decoder.weight_ih_l0", "b/kernel", True),
    ]
    assert found(ours, theirs[:1]) == []
