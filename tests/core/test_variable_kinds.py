import pytest

from ckpttool.core.variable_kinds import base_name, kinds

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.mark.parametrize(
    "slot",
    [
        "hidden1/kernel/Momentum",
        "hidden1/kernel/Adam",
        "hidden1/kernel/Adam_1",
        "hidden1/kernel/RMSProp_1",
        "hidden1/kernel/Adagrad",
        "hidden1/kernel/Adadelta_1",
        "hidden1/kernel/Ftrl_1",
        "hidden1/kernel/adam_m",
        "hidden1/kernel/ExponentialMovingAverage",
        "hidden1/kernel/part_0/Adagrad",
        "dnn/train/hidden1/kernel/Adam",
        "optimizer/hidden1/kernel/Momentum",
        "training/Adam/hidden1/kernel/m",
        "Adam/m/hidden1/kernel",
        "hidden1/kernel/velocity",
    ],
)
def test_a_slot_is_one_because_its_variable_is_there(slot):
    assert kinds(["hidden1/kernel", slot]) == {"hidden1/kernel": "weight", slot: "slot"}
    assert kinds([slot]) == {slot: "weight"}


def test_a_layer_that_is_named_like_an_optimizer_is_no_slot():
    assert set(kinds(["Momentum/kernel", "Momentum/bias", "rnn/m", "Adam"]).values()) == {"weight"}


def test_beta_powers_and_hyperparameters_are_slots_and_counters_are_steps():
    assert kinds(
        ["beta1_power", "beta2_power_1", "train/beta1_power", "training/Adam/beta_1", "learning_rate"]
    ) == dict.fromkeys(
        ["beta1_power", "beta2_power_1", "train/beta1_power", "training/Adam/beta_1", "learning_rate"], "slot"
    )
    assert set(kinds(["global_step", "train/global_step", "save_counter", "Adam/iter"]).values()) == {"step"}


def test_the_shortest_scope_is_left_out_first():
    assert base_name("a/hidden1/kernel/Adam", {"a/hidden1/kernel", "hidden1/kernel"}) == "a/hidden1/kernel"


def test_an_object_checkpoint_of_keras_2():
    names = {
        f"layer_with_weights-0/kernel{VALUE}": "weight",
        f"layer_with_weights-0/kernel/.OPTIMIZER_SLOT/optimizer/m{VALUE}": "slot",
        f"optimizer/beta_1{VALUE}": "slot",
        f"optimizer/iter{VALUE}": "step",
        f"save_counter{VALUE}": "step",
        "_CHECKPOINTABLE_OBJECT_GRAPH": "object-graph",
    }
    assert kinds(names) == names


def test_an_object_checkpoint_by_its_variables_names():
    names = {
        "net/hidden1/kernel": "weight",
        "net/hidden1/kernel/momentum": "slot",
        "net/hidden1/kernel/velocity": "slot",
        "adam/learning_rate": "slot",
        "adam/iteration": "step",
        "step": "step",
    }
    assert kinds(names) == names


def test_keras_3_keeps_the_models_weights_under_its_optimizer():
    names = {
        f"model/optimizer/_trainable_variables/0{VALUE}": "weight",
        f"model/optimizer/_variables/3{VALUE}": "slot",
        f"model/optimizer/_iterations{VALUE}": "step",
        f"model/optimizer/_learning_rate{VALUE}": "slot",
        f"model/_layers/1/_kernel{VALUE}": "weight",
    }
    assert kinds(names) == names


def test_real_keras_3_checkpoint(tmp_path):
    """Every weight of the model is classified as a weight, although its key is below the optimizer's."""
    import tensorflow as tf

    model = tf.keras.Sequential([tf.keras.layers.Input((2,)), tf.keras.layers.Dense(3)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "ckpt"))

    found = tf.train.list_variables(path)
    kind = kinds([name for name, _ in found])
    weights = sorted(tuple(shape) for name, shape in found if kind[name] == "weight")
    assert weights == [(2, 3), (3,)]
    assert sum(kind[name] == "step" for name, _ in found) == 2
