"""A TensorFlow 1 checkpoint is put into that of the TensorFlow 2 program that replaces it, by rules."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.variable_kinds import OBJECT_GRAPH

RENAMES = (
    "--rename 'bert/embeddings/word_embeddings=>encoder/embedding' "
    "--rename 'bert/layer_0/(dense|LayerNorm)=>encoder/layer'"
)


def values() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {
        "bert/embeddings/word_embeddings": (8, 8),
        "bert/layer_0/dense/kernel": (8, 8),
        "bert/layer_0/dense/bias": (8,),
        "bert/layer_0/LayerNorm/gamma": (8,),
        "bert/layer_0/LayerNorm/beta": (8,),
    }
    return {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def encoder():
    import tensorflow as tf

    class Layer(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="layer")
            with self.name_scope:
                self.kernel = tf.Variable(tf.zeros([8, 8]), name="kernel")
                self.bias, self.gamma, self.beta = (
                    tf.Variable(tf.zeros([8]), name=name) for name in ("bias", "gamma", "beta")
                )

    class Encoder(tf.Module):
        def __init__(self) -> None:
            super().__init__(name="encoder")
            with self.name_scope:
                self.embedding, self.layers = tf.Variable(tf.zeros([8, 8]), name="embedding"), [Layer()]

    return Encoder()


def make(folder: Path) -> None:
    """The name-based checkpoint with its optimizer's slots, and object-based ones: of the model and of a whole run."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, value in values().items():
            v1.get_variable(name, initializer=value)
            v1.get_variable(f"{name}/adam_m", initializer=value * 0.1, trainable=False)
        v1.get_variable("global_step", initializer=np.int64(1000), trainable=False)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "tf1.ckpt"), write_meta_graph=False, write_state=False)
    tf.train.Checkpoint(model=encoder()).write(str(folder / "tf2.ckpt"))
    step, slot = tf.Variable(5, name="step"), tf.Variable(tf.ones([8, 8]), name="encoder/embedding/m")
    tf.train.Checkpoint(model=encoder(), step=step, slots=[slot]).write(str(folder / "run.ckpt"))


def read(prefix: str, **others):
    """The program's encoder with the values that TensorFlow restores; all values are used, all variables set."""
    import tensorflow as tf

    model = encoder()
    tf.train.Checkpoint(model=model, **others).read(prefix).assert_consumed()
    return model


def require_imported(model) -> None:
    expected, layer = values(), model.layers[0]
    np.testing.assert_array_equal(model.embedding, expected["bert/embeddings/word_embeddings"])
    np.testing.assert_array_equal(layer.kernel, expected["bert/layer_0/dense/kernel"])
    np.testing.assert_array_equal(layer.bias, expected["bert/layer_0/dense/bias"])
    np.testing.assert_array_equal(layer.gamma, expected["bert/layer_0/LayerNorm/gamma"])


def test_the_program_reads_every_value_and_the_object_graph_is_the_same_bytes(folder, run):
    said = run(f"ckpttool import tf1.ckpt --into tf2.ckpt {RENAMES} -o out.ckpt")
    assert "5 of 5 weights imported" in said
    assert "restored from bert/layer_0/LayerNorm/gamma" in said
    require_imported(read("out.ckpt"))
    before, after = (checkpoint.open(name)[OBJECT_GRAPH].read().item() for name in ("tf2.ckpt", "out.ckpt"))
    assert before == after


def test_the_state_of_a_run_stays_as_it_is(folder, run):
    import tensorflow as tf

    step, slot = tf.Variable(0), tf.Variable(tf.zeros([8, 8]))
    run(f"ckpttool import tf1.ckpt --into run.ckpt {RENAMES} -o out.ckpt")
    require_imported(read("out.ckpt", step=step, slots=[slot]))
    assert step.numpy() == 5 and (slot.numpy() == 1).all()


def test_what_has_no_counterpart_is_refused_with_lenient_it_keeps_its_value(folder, run):
    rule = "--rename 'bert/layer_0/(dense|LayerNorm)=>encoder/layer'"
    said = run(f"ckpttool import tf1.ckpt --into tf2.ckpt {rule} -o out.ckpt", exit_code=2)
    assert "bert/embeddings/word_embeddings is not a variable of tf2.ckpt; nearest: encoder/embedding" in said
    assert not Path("out.ckpt.index").exists()
    said = run(f"ckpttool import tf1.ckpt --into tf2.ckpt {rule} --lenient -o out.ckpt")
    assert "4 of 5 weights imported" in said and "kept from tf2.ckpt: encoder/embedding" in said
    assert not read("out.ckpt").embedding.numpy().any()


def test_a_draft_of_rules_for_it_is_completed_by_hand_and_works(folder, run):
    run("ckpttool import tf1.ckpt --into tf2.ckpt --suggest -o draft.toml", exit_code=1)
    rest = "--rename 'bert/embeddings/word_embeddings=>encoder/embedding' --rename 'bert/layer_0/dense=>encoder/layer'"
    rest += " --rename 'bert/layer_0/LayerNorm/beta=>encoder/layer/beta'"
    run(f"ckpttool import tf1.ckpt --into tf2.ckpt {rest} --rules draft.toml --plan", exit_code=0)


@pytest.mark.parametrize("option", ["--bake", "--check tf1.ckpt"])
def test_what_needs_a_graph_is_refused(folder, run, option):
    said = run(f"ckpttool import tf1.ckpt --into tf2.ckpt {RENAMES} {option} -o out.ckpt", exit_code=2)
    assert "tf2.ckpt is a checkpoint without a graph" in said


def test_weights_of_keras_are_filled_the_same_way(folder, run):
    keras = pytest.importorskip("keras")
    for name, seed in (("old", 1), ("new", 2)):
        keras.utils.set_random_seed(seed)
        layers = [keras.layers.Dense(4, name=f"{name}_fc"), keras.layers.Dense(4, name=f"{name}_out")]
        model = keras.Sequential([keras.layers.Input((4,)), *layers])
        model.save_weights(f"{name}.weights.h5")
    run("ckpttool import old.weights.h5 --into new.weights.h5 --rename 'old_(.*)=>new_\\1' -o out.weights.h5")
    model.load_weights("out.weights.h5")
    old = checkpoint.open("old.weights.h5")
    np.testing.assert_array_equal(model.get_layer("new_out").kernel.numpy(), old["old_out/kernel"].read())
