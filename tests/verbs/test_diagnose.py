"""Diagnosis: vanishing or exploding gradients in deep networks, dead ReLUs, and numbers compared with TensorFlow's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import GraphError, PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs.diagnose import diagnose
from ckpttool.verbs.new import new

Change = Callable[[str, Any], Any]


def made(spec: str, path: Path, change: Change) -> Model:
    """A network 4 - ... - 3 whose values are changed by name."""
    new([4], spec, path, recipe=Recipe(), seed=1)
    values = {name: change(name, tensor.read()) for name, tensor in checkpoint.open(path).items()}
    checkpoint.save(values, path, format="bundle", overwrite=True)
    return Model.open(path)


def deep(activation: str) -> str:
    hidden = "; ".join(f"hidden{number} = dense(20, {activation})" for number in range(1, 11))
    return f"{hidden}; outputs = dense(3)"


def kernels(factor: float) -> Change:
    return lambda name, value: value * np.float32(factor) if name.endswith("kernel") else value


def test_gradients_vanish_in_a_deep_sigmoid_network(data: Path, tmp_path: Path) -> None:
    found = diagnose(made(deep("sigmoid"), tmp_path / "m", kernels(0.5)), data)
    assert [row.layer for row in found] == [*(f"hidden{number}" for number in range(1, 11)), "outputs"]
    spreads = [row.gradient_std or 0.0 for row in found]
    assert spreads == sorted(spreads)
    assert spreads[0] < 1e-5 * spreads[-1]
    assert [row.verdict for row in found[:5]] == ["vanishing"] * 5
    assert found[-1].verdict == "ok"
    assert (found[0].activation, found[-1].activation) == ("Sigmoid", None)
    assert found[0].mean == pytest.approx(0.5, abs=0.1)
    ratios = [row.gradient_to_weight or 0.0 for row in found]
    assert ratios[0] < 1e-5 * ratios[-1]


def test_a_large_start_saturates_sigmoids(data: Path, tmp_path: Path) -> None:
    found = diagnose(made(deep("sigmoid"), tmp_path / "m", kernels(100)), data)
    assert all("saturated" in row.verdict for row in found[:-1])
    assert all((row.saturated or 0) > 0.8 for row in found[:-1])
    assert found[-1].saturated is None


def test_gradients_explode_in_a_deep_network_with_a_large_start(data: Path, tmp_path: Path) -> None:
    found = diagnose(made(deep("elu"), tmp_path / "m", kernels(8)), data)
    assert [row.verdict for row in found[:3]] == ["exploding"] * 3
    assert found[-1].verdict == "ok"


def test_units_that_are_never_on_are_dead(data: Path, tmp_path: Path) -> None:
    def kill(name: str, value: Any) -> Any:
        return np.where(np.arange(10) < 4, np.float32(-100), value) if name == "hidden1/bias" else value

    spec = "hidden1 = dense(10, relu); hidden2 = dense(8, relu); outputs = dense(3)"
    model = made(spec, tmp_path / "m", kill)
    first, *others = diagnose(model, data, valid="last:10%")
    assert first.dead >= 0.4
    assert first.verdict == f"dead {first.dead:.0%}"
    x = np.load(data, allow_pickle=False)["x_train"][:270]
    values = {name: tensor.read() for name, tensor in model.checkpoint.items()}
    hidden = np.maximum(x @ values["hidden1/kernel"] + values["hidden1/bias"], 0)
    assert first.dead == pytest.approx(np.mean(~np.any(hidden > 0, 0)))
    assert (first.mean, first.std) == (pytest.approx(hidden.mean(), rel=1e-5), pytest.approx(hidden.std(), rel=1e-5))
    assert others[-1].dead == 0


def test_a_layer_that_is_all_dead_gives_nothing_below_it_a_gradient(data: Path, tmp_path: Path) -> None:
    biases = {"hidden2/bias": -100.0, "outputs/bias": 0.1}

    def kill(name: str, value: Any) -> Any:
        return np.full_like(value, biases[name]) if name in biases else value

    spec = "hidden1 = dense(10, tanh); hidden2 = dense(8, relu); outputs = dense(3)"
    below, dead, top = diagnose(made(spec, tmp_path / "m", kill), data)
    assert (below.gradient_std, below.gradient_to_weight, below.verdict) == (0, 0, "vanishing")
    assert (dead.dead, dead.verdict) == (1, "dead 100%")
    assert top.verdict == "ok"


def test_gradients_are_those_of_tensorflow(model: Model, small: Path, data: Path, new_session: Any) -> None:
    rows = 150
    found = {row.layer: row for row in diagnose(model, data, rows=rows, valid="last:10%")}
    arrays = np.load(data, allow_pickle=False)
    numbers = np.unique(np.linspace(0, 269, rows).astype(int))
    feed = {"X:0": arrays["x_train"][numbers], "y:0": arrays["y_train"][numbers]}
    session = new_session(small, small)
    with session.graph.as_default():
        v1, loss = session.v1, session.graph.get_tensor_by_name("loss/loss:0")
        hidden = session.graph.get_tensor_by_name("dnn/hidden2/Elu:0")
        weights = [variable for variable in v1.global_variables() if variable.op.name.startswith("hidden2/")]
        gradient, *slopes = session.run(v1.gradients(loss, [hidden, *weights]), feed)
        values = session.run(weights)
    norm = np.sqrt(sum(np.square(slope).sum() for slope in slopes))
    size = np.sqrt(sum(np.square(value).sum() for value in values))
    row = found["hidden2"]
    assert row.gradient_mean == pytest.approx(len(numbers) * gradient.mean(), rel=1e-4)
    assert row.gradient_std == pytest.approx(len(numbers) * gradient.std(), rel=1e-4)
    assert row.gradient_to_weight == pytest.approx(norm / size, rel=1e-4)
    assert (row.output, row.activation, row.verdict) == ("dnn/hidden2/Elu:0", "Elu", "ok")


def test_a_diagnosis_repeats_and_changes_nothing(foreign: Callable[..., Path], data: Path) -> None:
    path = foreign("dropout")
    files = {file: file.read_bytes() for file in path.parent.glob("foreign.ckpt*")}
    first, again = diagnose(Model.open(path), data), diagnose(Model.open(path), data)
    assert first == again
    assert {file: file.read_bytes() for file in path.parent.glob("foreign.ckpt*")} == files


@pytest.mark.parametrize("functional", [False, True], ids=["Switch", "If"])
def test_batch_normalisation_works_as_in_training(foreign: Callable[..., Path], data: Path, functional: bool) -> None:
    found = {row.layer: row for row in diagnose(Model.open(foreign("batch_norm", functional)), data)}
    assert found["hidden1/norm"].mean == pytest.approx(0.2, abs=1e-3)  # beta; the moving average would be different
    assert found["hidden1/norm"].std <= 1.1


def test_layers_below_a_stopped_gradient_have_none(new_network: Any, data: Path, tmp_path: Path) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        low = net.tf.stop_gradient(net.dense(X, 5, "low"))
        net.classify(net.dense(low, 3, "outputs", relu=False), y)
    low, top = diagnose(Model.open(net.save(tmp_path / "stopped.ckpt")), data)
    assert (low.gradient_std, low.gradient_to_weight, low.verdict) == (None, None, "no gradient")
    assert top.verdict == "ok"


def test_values_that_are_not_finite_are_said(data: Path, tmp_path: Path) -> None:
    found = diagnose(made("hidden1 = dense(5, elu); outputs = dense(3)", tmp_path / "m", kernels(np.inf)), data)
    assert {row.verdict for row in found} == {"not finite"}


def test_what_cannot_be_diagnosed_is_refused(model: Model, new_network: Any, data: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="`rows` must be 1 or more, found 0"):
        diagnose(model, data, rows=0)
    with new_network().building() as net:
        X, _, _ = net.inputs()
        net.dense(X, 3, "outputs")
    with pytest.raises(GraphError, match="no loss is known; specify `loss`"):
        diagnose(Model.open(net.save(tmp_path / "bare.ckpt")), data)
