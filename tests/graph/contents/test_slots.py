"""Slots are found by the ops that update a variable: with any names of the optimizer, the scopes and the slots."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ckpttool.graph import files
from ckpttool.graph.contents.variables import Variable, variables
from ckpttool.graph.roles.training_ops import training_ops, with_layers

WEIGHTS = {"embed/table", "h/kernel", "h/bias"}


@pytest.fixture
def v1() -> Iterator[Any]:
    import tensorflow as tf

    with tf.Graph().as_default():
        yield tf.compat.v1


def network(v1: Any, resource: bool = False) -> Any:
    """Return the loss of a network that looks up words, so that one gradient is sparse."""
    import tensorflow as tf

    def weight(name: str, shape: list[int]) -> Any:
        return v1.get_variable(name, shape, use_resource=resource)

    words = v1.placeholder(tf.int32, [None], "words")
    labels = v1.placeholder(tf.float32, [None, 3], "labels")
    rows = tf.gather(weight("embed/table", [7, 4]), words)
    outputs = tf.tanh(tf.matmul(rows, weight("h/kernel", [4, 3])) + weight("h/bias", [3]))
    return tf.reduce_mean(tf.square(outputs - labels), name="loss")


def saved(v1: Any, folder: Path) -> dict[str, Variable]:
    v1.train.Saver().export_meta_graph(str(folder / "model.ckpt.meta"))
    return dict(variables(files.load(folder / "model.ckpt.meta")))


def owners(found: dict[str, Variable]) -> dict[str, str | None]:
    return {name: variable.owner for name, variable in found.items() if variable.kind == "slot"}


def adam_of_bert(v1: Any, loss: Any, clipped: bool = True) -> None:
    """Adam with weight decay, and LAMB's ratio, as BERT's and ALBERT's `optimization.py` have it in plain ops."""
    import tensorflow as tf

    variables, updates = v1.trainable_variables(), []
    gradients = [tf.convert_to_tensor(gradient) for gradient in tf.gradients(loss, variables)]
    if clipped:
        gradients, _ = tf.clip_by_global_norm(gradients, 1.0)
    for variable, gradient in zip(variables, gradients, strict=True):
        name = variable.op.name
        moments = [
            v1.get_variable(f"{name}/{end}", variable.shape, trainable=False, initializer=v1.zeros_initializer())
            for end in ("adam_m", "second")
        ]
        mean = 0.9 * moments[0] + 0.1 * gradient
        square = 0.999 * moments[1] + 0.001 * tf.square(gradient)
        step = mean / (tf.sqrt(square) + 1e-6) + 0.01 * variable
        ratio = tf.norm(variable) / tf.norm(step)
        updates += [variable.assign(variable - 0.1 * ratio * step), moments[0].assign(mean), moments[1].assign(square)]
    count = v1.train.get_or_create_global_step()
    tf.group(*updates, count.assign(count + 1), name="train")


Optimize = Callable[[Any, Any], None]


def minimized(make: Callable[[Any], Any]) -> Optimize:
    return lambda v1, loss: make(v1.train).minimize(loss, global_step=v1.train.get_or_create_global_step()) and None


@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
@pytest.mark.parametrize(
    ("optimize", "ends"),
    [
        (minimized(lambda train: train.AdamOptimizer(name="Adam2")), ["Adam2", "Adam2_1"]),
        (minimized(lambda train: train.MomentumOptimizer(0.1, 0.9, name="sgd")), ["sgd"]),
        (minimized(lambda train: train.RMSPropOptimizer(0.1, centered=True, name="r")), ["r", "r_1", "r_2"]),
        (minimized(lambda train: train.FtrlOptimizer(0.1, name="f")), ["f", "f_1"]),
        (adam_of_bert, ["adam_m", "second"]),
    ],
    ids=["adam", "momentum", "rmsprop", "ftrl", "bert"],
)
def test_the_name_of_the_optimizer_does_not_count(
    v1: Any, tmp_path: Path, optimize: Optimize, ends: list[str], resource: bool
) -> None:
    optimize(v1, network(v1, resource))
    found = saved(v1, tmp_path)
    owned = {slot: owner for slot, owner in owners(found).items() if owner is not None}
    assert owned == {f"{name}/{end}": name for name in WEIGHTS for end in ends}
    assert {name for name, variable in found.items() if variable.kind == "weight"} == WEIGHTS
    assert found["global_step"].kind == "step"


def test_several_optimizers_in_scopes_of_their_own(v1: Any, tmp_path: Path) -> None:
    loss = network(v1)
    with v1.variable_scope("trainer/first"):
        v1.train.AdamOptimizer(name="A").minimize(loss)
    with v1.variable_scope("second"):
        v1.train.MomentumOptimizer(0.1, 0.9, name="B").minimize(loss, var_list=v1.trainable_variables("h"))
    found = owners(saved(v1, tmp_path))
    assert {slot for slot, owner in found.items() if owner == "h/bias"} == {
        *("trainer/first/h/bias/A", "trainer/first/h/bias/A_1", "second/h/bias/B")
    }
    assert {name for name, owner in found.items() if owner is None} == {
        *("trainer/first/beta1_power", "trainer/first/beta2_power")
    }


def test_an_optimizer_of_ones_own(v1: Any, tmp_path: Path) -> None:
    """As in subclasses of `Optimizer`: `_zeros_slot`, and plain assigns that read one another's result."""

    class Own(v1.train.Optimizer):
        def __init__(self) -> None:
            super().__init__(False, "Own")

        def _create_slots(self, variables: list[Any]) -> None:
            for variable in variables:
                self._zeros_slot(variable, "sums", self._name)

        def _resource_apply_dense(self, gradient: Any, variable: Any) -> Any:
            sums = self.get_slot(variable, "sums")
            return variable.assign_sub(0.1 * sums.assign(0.9 * sums + gradient))

        def _resource_apply_sparse(self, gradient: Any, variable: Any, rows: Any) -> Any:
            import tensorflow as tf

            return self._resource_apply_dense(tf.scatter_nd(rows[:, None], gradient, variable.shape), variable)

    Own().minimize(network(v1, resource=True))
    found = saved(v1, tmp_path)
    assert owners(found) == {f"{name}/Own": name for name in WEIGHTS}
    graph = files.load(tmp_path / "model.ckpt.meta")
    assert with_layers(graph, training_ops(graph)) == "Own (trains embed, h)"


@pytest.mark.parametrize("functional", [False, True], ids=["switch", "function"])
def test_updates_that_a_condition_lets_through(v1: Any, tmp_path: Path, functional: bool) -> None:
    """As with scaled losses, which skip a step whose gradients are not finite."""
    import tensorflow as tf

    was = v1.control_flow_v2_enabled()
    (v1.enable_control_flow_v2 if functional else v1.disable_control_flow_v2)()
    try:
        optimizer = v1.train.MomentumOptimizer(0.1, 0.9, name="kept")
        pairs = optimizer.compute_gradients(network(v1, resource=True))
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(g))) for g, _ in pairs])
        optimizer._create_slots([variable for _, variable in pairs])
        optimizer._prepare()
        tf.group(tf.cond(finite, lambda: tf.group(optimizer.apply_gradients(pairs)), tf.no_op), name="train")
    finally:
        (v1.enable_control_flow_v2 if was else v1.disable_control_flow_v2)()
    assert owners(saved(v1, tmp_path)) == {f"{name}/kept": name for name in WEIGHTS}
    graph = files.load(tmp_path / "model.ckpt.meta")
    assert "(trains embed, h)" in with_layers(graph, training_ops(graph))


def test_gradients_that_are_summed_up_first(v1: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    optimizer, trained = v1.train.MomentumOptimizer(0.1, 0.9, name="late"), []
    for gradient, variable in optimizer.compute_gradients(network(v1)):
        name = f"summed_{variable.op.name.replace('/', '_')}"
        total = v1.get_variable(name, variable.shape, trainable=False)
        v1.assign_add(total, tf.convert_to_tensor(gradient), name=f"{name}_add")
        trained.append((total, variable))
    optimizer.apply_gradients(trained)
    assert owners(saved(v1, tmp_path)) == {
        end: name for name in WEIGHTS for end in (f"summed_{name.replace('/', '_')}", f"{name}/late")
    }


def test_averages_of_weights_have_them_as_owners_and_batch_norm_stays(v1: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    x = v1.placeholder(tf.float32, [None, 4], "X")
    kernel = v1.get_variable("h/kernel", [4, 3])
    hidden = tf.matmul(x, kernel)
    mean = v1.get_variable("norm/running", [3], trainable=False)
    update = v1.assign(mean, 0.9 * mean + 0.1 * tf.reduce_mean(hidden, 0))
    loss = tf.reduce_mean(tf.square(hidden - mean))
    train = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
    with tf.control_dependencies([train, update]):
        tf.train.ExponentialMovingAverage(0.9, name="shadow").apply([kernel])
    found = saved(v1, tmp_path)
    assert owners(found) == {"h/kernel/shadow": "h/kernel"}
    assert found["norm/running"].kind == "weight"


def test_a_target_network_that_follows_another_is_made_of_weights(v1: Any, tmp_path: Path) -> None:
    """Its copies are used in computations, unlike averages."""
    import tensorflow as tf

    x = v1.placeholder(tf.float32, [None, 4], "X")
    online = v1.get_variable("online/kernel", [4, 2])
    target = v1.get_variable("target/kernel", [4, 2], trainable=False)
    values = tf.stop_gradient(tf.reduce_max(tf.matmul(x, target), 1))
    loss = tf.reduce_mean(tf.square(tf.reduce_max(tf.matmul(x, online), 1) - values))
    v1.train.RMSPropOptimizer(0.1).minimize(loss)
    v1.assign(target, online, name="follow")
    assert saved(v1, tmp_path)["target/kernel"].kind == "weight"
