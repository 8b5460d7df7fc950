"""Our training ops compared with plain TensorFlow 1 programs, which store and resume the same numbers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.tensors import Tensor
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.freezing.updates import drop_updates
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.runtime.build import with_training
from ckpttool.runtime.epochs import EpochRunner
from ckpttool.runtime.function import GraphFunction
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import FACTOR, RATE, UNKNOWN_STEPS, RunSteps
from ckpttool.runtime.state import State, fresh_tensors
from ckpttool.runtime.training_op import put_training_op

STEPS, SIZE = 4, 10
RANDOM = np.random.default_rng(2)
X = RANDOM.normal(size=(2 * STEPS * SIZE, 4)).astype(np.float32)
Y = RANDOM.integers(0, 3, len(X))
WEIGHTS = ["hidden1/kernel", "hidden1/bias", "outputs/kernel", "outputs/bias"]


def adamw(v1: Any) -> Any:
    """Adam whose weights are decreased by `rate * decay` of themselves, as in Loshchilov and Hutter."""

    class AdamW(v1.train.AdamOptimizer):  # type: ignore[misc]
        def apply_gradients(self, pairs: Any, global_step: Any = None, name: str | None = None) -> Any:
            kernels = [(variable, variable * 0.01 * 0.1) for _, variable in pairs if variable.shape.rank == 2]
            with v1.control_dependencies([shrink for _, shrink in kernels]):
                applied = super().apply_gradients(pairs, global_step, name=f"{name}_adam")
            with v1.control_dependencies([applied]):
                return v1.group(*(variable.assign_sub(shrink) for variable, shrink in kernels), name=name)

    return AdamW(0.01, beta1=0.8)


REFERENCES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "sgd": ("sgd(0.2)", lambda v1: v1.train.GradientDescentOptimizer(0.2)),
    "momentum": ("momentum(0.1, momentum=0.8)", lambda v1: v1.train.MomentumOptimizer(0.1, 0.8)),
    "nesterov": ("nesterov(0.1, 0.8)", lambda v1: v1.train.MomentumOptimizer(0.1, 0.8, use_nesterov=True)),
    "adagrad": ("adagrad(0.1)", lambda v1: v1.train.AdagradOptimizer(0.1)),
    "rmsprop": ("rmsprop(0.01, momentum=0.5)", lambda v1: v1.train.RMSPropOptimizer(0.01, momentum=0.5)),
    "adam": ("adam(1e-2, beta1=0.8)", lambda v1: v1.train.AdamOptimizer(1e-2, beta1=0.8)),
    "adamw": ("adamw(1e-2, weight_decay=0.1, beta1=0.8)", adamw),
    "ftrl": (
        "ftrl(0.1, l1_regularization_strength=0.01)",
        lambda v1: v1.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01),
    ),
}


def network(new_network: Any, optimizer: Callable[[Any], Any] | None = None, resource: bool = False) -> Any:
    """A network with a hidden layer, trained by a plain TensorFlow program's optimizer or not at all."""
    with new_network(resource=resource).building() as net:
        x, y, _ = net.inputs()
        net.classify(net.dense(net.dense(x, 5, "hidden1"), 3, "outputs", relu=False), y)
        if optimizer is not None:
            step = net.v1.train.create_global_step()
            loss = net.graph.get_tensor_by_name("loss/loss:0")
            optimizer(net.v1).minimize(loss, step, name="train")
    return net


def batch(number: int) -> dict[str, Any]:
    rows = slice(number * SIZE, (number + 1) * SIZE)
    return {"X:0": X[rows], "y:0": Y[rows]}


def train(graph: Any, op: str, values: Any, first: int) -> dict[str, Any]:
    """Run steps as `finetune` does; return the variables."""
    function = GraphFunction(graph, ["loss/loss:0", op], ["X:0", "y:0"])
    state = State(variables(graph).values(), values)
    EpochRunner(function, state, {}).steps(
        {"X:0": X, "y:0": Y}, np.arange(first * SIZE, (first + STEPS) * SIZE), SIZE, first
    )
    return state.read()


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6, err_msg=name)


def test_every_optimizer_of_the_table_has_a_referee() -> None:
    assert REFERENCES.keys() == Optimizer.known().keys()


@pytest.mark.parametrize("name", Optimizer.known())
@pytest.mark.parametrize("resource", [False, True], ids=["reference variables", "resource variables"])
def test_an_optimizer_steps_as_tensorflows_own_and_goes_on_from_its_slots(
    name: str, resource: bool, new_network: Any, new_session: Any, tmp_path: Path
) -> None:
    call, optimizer = REFERENCES[name]
    plain = network(new_network, optimizer, resource).save(tmp_path / "plain.ckpt")
    session, begun = new_session(plain, plain), checkpoint.open(plain)
    graph = with_training(network(new_network, resource=resource).export(), "loss/loss:0", WEIGHTS, Recipe(call), 1)
    op = find_roles(graph).training_op
    assert op == optimizer(session.v1).get_name()

    found = train(graph, str(op), begun, 0)
    for number in range(STEPS):
        session.run("train", batch(number))
    assert_same(found, session.weights())

    found = train(graph, str(op), {key: Tensor.of(key, value) for key, value in found.items()}, STEPS)
    for number in range(STEPS, 2 * STEPS):
        session.run("train", batch(number))
    assert_same(found, session.weights())
    assert found["global_step"] == 2 * STEPS


def embedding(new_network: Any, optimizer: Callable[[Any], Any] | None, resource: bool) -> Any:
    """A network whose first weights are rows that are looked up, so that their gradients are sparse."""
    with new_network(resource=resource).building() as net:
        x, y, _ = net.inputs()
        rows = net.tf.gather(net.variable("hidden1/kernel", [3, 4]), net.tf.cast(x[:, 0] > 0, "int32"))
        net.classify(net.dense(rows, 3, "outputs", relu=False), y)
        if optimizer is not None:
            loss = net.graph.get_tensor_by_name("loss/loss:0")
            optimizer(net.v1).minimize(loss, net.v1.train.create_global_step(), name="train")
    return net


@pytest.mark.parametrize("name", Optimizer.known())
@pytest.mark.parametrize("resource", [False, True], ids=["reference variables", "resource variables"])
def test_sparse_gradients(name: str, resource: bool, new_network: Any, new_session: Any, tmp_path: Path) -> None:
    call, optimizer = REFERENCES[name]
    plain = embedding(new_network, optimizer, resource).save(tmp_path / "plain.ckpt")
    session, begun = new_session(plain, plain), checkpoint.open(plain)
    bare = embedding(new_network, None, resource).export()
    trained = ["hidden1/kernel", *WEIGHTS[2:]]
    graph = with_training(bare, "loss/loss:0", trained, Recipe(call, max_norm="hidden1=100", clip_norm=100.0), 1)
    found = train(graph, str(find_roles(graph).training_op), begun, 0)
    for number in range(STEPS):
        session.run("train", batch(number))
    assert_same(found, session.weights())


@pytest.mark.parametrize("name", Optimizer.known())
def test_slots_have_the_names_that_an_optimizer_says(name: str, new_network: Any) -> None:
    call, _ = REFERENCES[name]
    graph = with_training(network(new_network).export(), "loss/loss:0", WEIGHTS, Recipe(call), 1)
    slots = {variable.name for variable in variables(graph).values() if variable.kind == "slot"}
    of_weights = {slot for slot in slots if not slot.startswith("beta")}
    assert of_weights == {f"{weight}/{slot}" for weight in WEIGHTS for slot in Optimizer.known()[name].slots}


def test_the_training_op_runs_on_in_a_plain_program(new_network: Any, new_session: Any) -> None:
    recipe = Recipe("adam", schedule="exponential(0.5, 2)", l2="1e-3", max_norm="0.5", clip_global_norm=1.0)
    graph = with_training(network(new_network).export(), "loss/loss:0", WEIGHTS, recipe, 1)
    session = new_session(graph, None)
    assert float(session.run(RATE)) == pytest.approx(0.001)
    for number in range(2):
        session.run("Adam", batch(number))
    assert float(session.run(RATE)) == pytest.approx(0.0005)
    assert session.weights()["global_step"] == 2
    assert {variable.name: variable.kind for variable in variables(graph).values() if variable.kind != "weight"} == {
        "global_step": "step",
        "beta1_power": "slot",
        "beta2_power": "slot",
        **{f"{name}/{slot}": "slot" for name in WEIGHTS for slot in ("Adam", "Adam_1")},
    }


def test_the_factor_of_the_performance_is_a_variable_that_a_run_multiplies(new_network: Any, new_session: Any) -> None:
    recipe = Recipe("momentum(0.4)", schedule="performance")
    graph = with_training(network(new_network).export(), "loss/loss:0", WEIGHTS, recipe, 1)
    factor, session = variables(graph)[FACTOR], new_session(graph, None)
    assert (factor.name, factor.kind, factor.trainable, str(factor.dtype)) == (FACTOR, "step", False, "float32")
    assert float(session.run(RATE)) == pytest.approx(0.4)
    assert float(session.run(RATE, {factor.read: 0.25})) == pytest.approx(0.1)


def test_what_is_frozen_later_is_neither_decayed_nor_bounded(new_network: Any, tmp_path: Path) -> None:
    begun = checkpoint.open(network(new_network).save(tmp_path / "begun.ckpt"))
    recipe = Recipe("adamw(0.1, weight_decay=0.5)", max_norm="0.1", l2="1")
    whole = with_training(network(new_network).export(), "loss/loss:0", WEIGHTS, recipe, 1)
    frozen = drop_updates(whole, WEIGHTS[:2])
    fresh = fresh_tensors(frozen, [name for name in variables(frozen) if name not in begun], 1)
    found = train(frozen, "Adam", {**begun, **fresh}, 0)
    moved = {name for name in WEIGHTS if not np.array_equal(found[name], begun[name].read())}
    assert moved == {"outputs/kernel", "outputs/bias"}
    assert found["global_step"] == STEPS


def pulled(v1: Any) -> Any:
    """Plain gradient descent on the loss and on the distance of kernels of rank 2 from their restored values."""

    class Pulled(v1.train.GradientDescentOptimizer):  # type: ignore[misc]
        def minimize(self, loss: Any, *more: Any, **named: Any) -> Any:
            kernel = next(each for each in v1.trainable_variables() if each.op.name == "hidden1/kernel")
            start = v1.Variable(kernel.initial_value, trainable=False, name="hidden1/kernel/Start")
            return super().minimize(loss + 3.0 * v1.reduce_sum((kernel - start) ** 2) / 2, *more, **named)

    return Pulled(0.1)


@pytest.mark.parametrize("resource", [False, True], ids=["reference variables", "resource variables"])
@pytest.mark.parametrize(("scale", "head"), [("3", WEIGHTS[2:]), ("hidden1=3", []), ("hidden1=3, outputs=0", [])])
def test_kernels_are_pulled_towards_their_values_at_the_start(
    resource: bool, scale: str, head: list[str], new_network: Any, new_session: Any, tmp_path: Path
) -> None:
    plain = network(new_network, pulled, resource).save(tmp_path / "plain.ckpt")
    session, begun = new_session(plain, plain), checkpoint.open(plain)
    bare = network(new_network, resource=resource).export()
    graph = with_training(bare, "loss/loss:0", WEIGHTS, Recipe("sgd(0.1)", l2_sp=scale), 1, head=head)
    (start,) = [each for each in variables(graph).values() if each.name not in begun or each.kind == "slot"]
    assert (start.name, start.kind, start.owner, start.trainable) == (f"{WEIGHTS[0]}/Start", "slot", WEIGHTS[0], False)
    weights = {name: begun[name] for name in [*WEIGHTS, "global_step"]}
    fresh = fresh_tensors(graph, [start.name], 7, weights)
    np.testing.assert_array_equal(fresh[start.name].read(), begun[WEIGHTS[0]].read())

    found = train(graph, "GradientDescent", {**weights, **fresh}, 0)
    for number in range(STEPS):
        session.run("train", batch(number))
    assert_same(found, session.weights())
    assert not np.array_equal(found[WEIGHTS[0]], found[start.name])
    found = train(graph, "GradientDescent", {key: Tensor.of(key, value) for key, value in found.items()}, STEPS)
    for number in range(STEPS, 2 * STEPS):
        session.run("train", batch(number))
    assert_same(found, session.weights())


def averaged(v1: Any) -> Any:
    """Momentum, and moving averages as in TensorFlow's own class, which counts the updates from step 3 on."""

    class Averaged(v1.train.MomentumOptimizer):  # type: ignore[misc]
        def minimize(self, loss: Any, step: Any, name: str) -> Any:
            with v1.control_dependencies([super().minimize(loss, step)]):
                averages = v1.train.ExponentialMovingAverage(0.6, step.read_value() - 3)
                return v1.group(averages.apply(v1.trainable_variables()), name=name)

    return Averaged(0.1, 0.9)


@pytest.mark.parametrize("resource", [False, True], ids=["reference variables", "resource variables"])
def test_moving_averages_are_tensorflows(resource: bool, new_network: Any, new_session: Any, tmp_path: Path) -> None:
    plain = network(new_network, averaged, resource=True).save(tmp_path / "plain.ckpt")
    session = new_session(plain, plain)
    with session.graph.as_default():
        session.run(session.v1.assign(session.v1.train.get_global_step(), 3))
    begun = checkpoint.open(session.save(tmp_path / "begun.ckpt"))
    recipe, span = Recipe("momentum(0.1)", ema=0.6, max_norm="100"), RunSteps(3, 100)
    graph = with_training(network(new_network, None, resource).export(), "loss/loss:0", WEIGHTS, recipe, 1, span=span)
    averages = [each for each in variables(graph).values() if each.is_average]
    assert [(each.name, each.kind, each.owner) for each in averages] == [
        (f"{name}/ExponentialMovingAverage", "slot", name) for name in WEIGHTS
    ]
    found, ours = train(graph, "Momentum", begun, 0), new_session(graph, tmp_path / "begun.ckpt")
    for number in range(STEPS):
        session.run("train", batch(number))
        ours.run("Momentum", batch(number))
    assert_same(found, session.weights())
    assert_same(ours.weights(), session.weights())
    assert not any(np.array_equal(found[name], found[f"{name}/ExponentialMovingAverage"]) for name in WEIGHTS)


def test_a_graphs_own_step_counts_on(new_network: Any) -> None:
    with new_network().building() as net:
        x, y, _ = net.inputs()
        net.v1.train.create_global_step()
        net.classify(net.dense(x, 3, "outputs", relu=False), y)
    graph = with_training(net.export(), "loss/loss:0", WEIGHTS[2:], Recipe(), 1)
    assert [name for name in variables(graph) if "step" in name] == ["global_step"]


@pytest.fixture
def weights() -> Iterator["Weights"]:
    """Two layers in their own graph, whose loss has simple gradients."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        yield Weights(tf, session)


KERNEL = np.array([[3.0, 4.0], [0.3, 0.4]], np.float32)
BIAS = np.array([5.0, 12.0], np.float32)


class Weights:
    """Kernels and biases whose gradients are the weights themselves."""

    def __init__(self, tf: Any, session: Any) -> None:
        self.tf, self.v1, self.session = tf, tf.compat.v1, session
        self.variables = [self.variable(layer, name) for layer in ("low", "mid", "top") for name in ("kernel", "bias")]
        self.loss = tf.add_n([tf.nn.l2_loss(variable) for variable in self.variables], name="loss")

    def variable(self, layer: str, name: str) -> Any:
        value = KERNEL if name == "kernel" else BIAS
        return self.v1.get_variable(f"{layer}/{name}", initializer=value, use_resource=False)

    def step(self, recipe: Recipe, steps: int = 1, span: RunSteps = UNKNOWN_STEPS, trained: int = 0) -> dict[str, Any]:
        """Train the variables from index `trained` on; return all."""
        names = [variable.op.name for variable in self.variables]
        op = put_training_op(recipe, self.loss, self.variables[trained:], names, span)
        self.session.run(self.v1.global_variables_initializer())
        for _ in range(steps):
            self.session.run(op)
        return dict(self.session.run({variable.op.name: variable for variable in self.v1.global_variables()}))


def rates(found: dict[str, Any]) -> dict[str, float]:
    """Return the effective rate of each variable, from one step of gradient descent."""
    begun = {"kernel": KERNEL, "bias": BIAS}
    names = [name for name in found if name.rpartition("/")[2] in begun]
    return {name: round(float(1 - (found[name] / begun[name.rpartition("/")[2]]).mean()), 5) for name in names}


def test_rates_by_pattern(weights: Weights) -> None:
    found = rates(weights.step(Recipe(lr="low=0.5, mid/bias=0.25")))
    others = dict.fromkeys(["mid/kernel", "top/kernel", "top/bias"], 0.01)
    assert found == {"low/kernel": 0.5, "low/bias": 0.5, "mid/bias": 0.25, **others}


def test_each_layer_has_a_share_of_the_rate_of_the_one_above(weights: Weights) -> None:
    found = rates(weights.step(Recipe(lr="0.4", lr_decay_per_layer=0.5)))
    expected = {"low": 0.1, "mid": 0.2, "top": 0.4}
    assert found == {f"{layer}/{name}": rate for layer, rate in expected.items() for name in ("kernel", "bias")}


def test_a_pattern_may_take_what_is_frozen(weights: Weights) -> None:
    found = rates(weights.step(Recipe(lr="low=0.5, top=0.25", l1="low=1"), trained=2))
    assert found == {
        **dict.fromkeys(["low/kernel", "low/bias"], 0.0),
        **dict.fromkeys(["mid/kernel", "mid/bias"], 0.01),
        **dict.fromkeys(["top/kernel", "top/bias"], 0.25),
    }


def test_adam_has_one_pair_of_powers_for_all_rates(weights: Weights) -> None:
    found = weights.step(Recipe("adam", lr="low=0.5, top=0.25"), steps=3)
    powers = {name: value for name, value in found.items() if "power" in name}
    assert powers == {"beta1_power": pytest.approx(0.9**4), "beta2_power": pytest.approx(0.999**4)}
    for name, rate in (("low/kernel", 0.5), ("mid/kernel", 0.001), ("top/kernel", 0.25)):
        m, v, weight = np.zeros_like(KERNEL), np.zeros_like(KERNEL), KERNEL.copy()
        for step in (1, 2, 3):
            m, v = 0.9 * m + 0.1 * weight, 0.999 * v + 0.001 * weight**2
            weight -= rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step) * m / (np.sqrt(v) + 1e-8)
        np.testing.assert_allclose(found[name], weight, rtol=1e-4)


CLIPPINGS: dict[str, tuple[dict[str, float], Callable[[Any, list[Any]], list[Any]]]] = {
    "elements": ({"clip_value": 3.5}, lambda tf, all_: [tf.clip_by_value(one, -3.5, 3.5) for one in all_]),
    "each": ({"clip_norm": 2.0}, lambda tf, all_: [tf.clip_by_norm(one, 2.0) for one in all_]),
    "together": ({"clip_global_norm": 2.0}, lambda tf, all_: tf.clip_by_global_norm(all_, 2.0)[0]),
    "elements, then each": (
        {"clip_value": 3.5, "clip_norm": 4.0},
        lambda tf, all_: [tf.clip_by_norm(tf.clip_by_value(one, -3.5, 3.5), 4.0) for one in all_],
    ),
}


@pytest.mark.parametrize("which", CLIPPINGS)
def test_gradients_are_clipped_as_tensorflow_clips(weights: Weights, which: str) -> None:
    options, reference = CLIPPINGS[which]
    gradients = [KERNEL, BIAS] * 3
    clipped = weights.session.run(reference(weights.tf, gradients))
    found = weights.step(Recipe(lr="1", **options))  # type: ignore[arg-type]
    for variable, before, gradient in zip(weights.variables, gradients, clipped, strict=True):
        np.testing.assert_allclose(found[variable.op.name], before - gradient, atol=1e-6)


def test_all_gradients_are_clipped_together_whatever_their_rates(weights: Weights) -> None:
    found = rates(weights.step(Recipe(lr="low=0.5, top=0.25", clip_global_norm=1.0)))
    norm = float(np.sqrt(3 * (KERNEL**2).sum() + 3 * (BIAS**2).sum()))
    assert found["low/kernel"] == pytest.approx(0.5 / norm, abs=1e-4)
    assert found["top/bias"] == pytest.approx(0.25 / norm, abs=1e-4)


def test_penalties_are_in_the_gradients_of_kernels_and_not_in_the_loss(weights: Weights) -> None:
    found = weights.step(Recipe(lr="0.1", l1="low=0.5, top=0", l2="2"))
    np.testing.assert_allclose(found["low/kernel"], KERNEL - 0.1 * (KERNEL + 0.5 + 2 * KERNEL), rtol=1e-5)
    np.testing.assert_allclose(found["top/kernel"], KERNEL - 0.1 * (KERNEL + 2 * KERNEL), rtol=1e-5)
    np.testing.assert_allclose(found["low/bias"], BIAS - 0.1 * BIAS, rtol=1e-5)


def test_the_loss_of_a_penalised_graph_stays_its_loss(new_network: Any) -> None:
    recipe = Recipe("momentum", l1="hidden1=1e-3", l2="1e-4")
    roles = find_roles(with_training(network(new_network).export(), "loss/loss:0", WEIGHTS, recipe, 1))
    assert (roles.loss, roles.training_op) == ("loss/loss:0", "Momentum")


def test_rows_of_kernels_are_bounded_after_the_update_as_in_the_chapter(weights: Weights) -> None:
    """Section 11.4.4: `tf.clip_by_norm(weights, clip_norm=threshold, axes=1)`."""
    found = weights.step(Recipe(lr="0.1", max_norm="low=1, mid=2"), steps=2)
    tf = weights.tf
    for name, bound in (("low/kernel", 1.0), ("mid/kernel", 2.0), ("top/kernel", np.inf)):
        weight = KERNEL
        for _ in range(2):
            after = 0.9 * weight
            weight = weights.session.run(tf.clip_by_norm(after, bound, axes=1)) if bound < np.inf else after
        np.testing.assert_allclose(found[name], weight, atol=1e-6)
    np.testing.assert_allclose(found["low/bias"], 0.81 * BIAS, rtol=1e-6)


def test_filters_of_convolutions_are_bounded(weights: Weights) -> None:
    value = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2)
    kernel = weights.v1.get_variable("conv/kernel", initializer=value, use_resource=False)
    weights.variables, weights.loss = [kernel], weights.tf.nn.l2_loss(kernel)
    found = weights.step(Recipe(lr="1e-9", max_norm="1"))["conv/kernel"]
    np.testing.assert_allclose(np.sqrt((found**2).sum((0, 1, 2))), [1, 1], rtol=1e-5)


def test_a_layers_own_bound_holds_and_an_option_wins(weights: Weights) -> None:
    for entry in ("low/kernel=1.0", b"mid/kernel=1.0", "top/kernel=1.0"):
        weights.v1.add_to_collection("ckpttool/max_norm", entry)
    found = weights.step(Recipe(lr="1e-9", max_norm="mid=2, top=0"))
    lengths = [float(np.linalg.norm(found[f"{layer}/kernel"], axis=1).max()) for layer in ("low", "mid", "top")]
    assert lengths == pytest.approx([1, 2, 5])


@pytest.mark.parametrize(
    ("recipe", "error", "problem"),
    [
        (Recipe(lr="lo=1"), UnknownName, "pattern 'lo' matches nothing; nearest: low"),
        (Recipe(l1="hi=1"), UnknownName, "pattern 'hi' matches nothing"),
        (
            Recipe(l2=".*/bias=1"),
            PlanError,
            r"`l2` '.*/bias=1.0': expected a kernel, of rank 2 or more, found low/",
        ),
        (Recipe(max_norm="top/bias=1"), PlanError, "`max_norm` 'top/bias=1.0': expected a kernel"),
        (
            Recipe(schedule="cosine"),
            PlanError,
            r"the length of the run is not known here, .* cosine\(steps=1000\)",
        ),
    ],
)
def test_what_fits_no_weight_is_refused(weights: Weights, recipe: Recipe, error: type, problem: str) -> None:
    with pytest.raises(error, match=problem):
        weights.step(recipe)


def test_nothing_to_minimize_is_an_error(weights: Weights) -> None:
    constant = weights.tf.constant(1.0, name="one")
    for trained in ([], weights.variables):
        with pytest.raises(PlanError, match="nothing to train: one:0 has no gradient for any variable"):
            put_training_op(Recipe(), constant, trained, [])
