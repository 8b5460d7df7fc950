"""Batch normalisation and dropout built only for training, as with `is_training=True`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool
from ckpttool.graph.files import load

Run = Callable[..., str]
ROWS = 60


def rows() -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    images = generator.normal(2, 3, size=(ROWS, 4, 4, 2)).astype(np.float32)
    return images, (images.mean((1, 2)) @ generator.normal(size=(2, 3)) * 3).argmax(1).astype(np.int32)


class Norm:
    """Batch normalisation as found in programs: each method is a way to write it, with its updates."""

    def __init__(self, training: bool) -> None:
        import tensorflow as tf

        self.tf, self.v1, self.training = tf, tf.compat.v1, training

    def variables(
        self, size: int, names: tuple[str, str] = ("moving_mean", "moving_variance"), **kind: Any
    ) -> list[Any]:
        ones, zeros = self.v1.ones_initializer(), self.v1.zeros_initializer()
        get = self.v1.get_variable
        trained = [get("gamma", [size], initializer=ones, **kind), get("beta", [size], initializer=zeros, **kind)]
        averages = zip(names, (zeros, ones), strict=True)
        return trained + [get(name, [size], initializer=value, trainable=False, **kind) for name, value in averages]

    def update(self, average: Any, value: Any) -> None:
        self.v1.add_to_collection("update_ops", self.v1.assign_sub(average, (average - value) * 0.1))

    def fused(self, h: Any) -> Any:
        gamma, beta, mean, variance = self.variables(h.shape[-1])
        fused = self.v1.nn.fused_batch_norm
        if not self.training:
            return fused(h, gamma, beta, mean, variance, 1e-3, is_training=False)[0]
        out, batch_mean, batch_variance = fused(h, gamma, beta, epsilon=1e-3)
        self.update(mean, batch_mean)
        self.update(variance, batch_variance)
        return out

    def moments(self, h: Any, keepdims: bool = False, **kind: Any) -> Any:
        tf = self.tf
        gamma, beta, mean, variance = self.variables(h.shape[-1], **kind)
        if not self.training:
            return tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-3)
        axes = list(range(h.shape.rank - 1))
        used = tf.nn.moments(h, axes, keepdims=keepdims)
        for average, value in zip((mean, variance), used, strict=True):
            self.update(average, tf.squeeze(value) if keepdims else value)
        return tf.nn.batch_normalization(h, *used, beta, gamma, 1e-3)

    def references(self, h: Any) -> Any:
        """Use reference variables, and averages that are assigned as a whole, on which only the training op depends."""
        tf, v1 = self.tf, self.v1
        gamma, beta, mean, variance = self.variables(h.shape[-1], ("pop_mean", "pop_var"), use_resource=False)
        if not self.training:
            return tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-3)
        batch = tf.nn.moments(h, list(range(h.shape.rank - 1)))
        for average, value in zip((mean, variance), batch, strict=True):
            v1.add_to_collection("mine", v1.assign(average, average * 0.9 + value * (1 - 0.9)))
        return tf.nn.batch_normalization(h, *batch, beta, gamma, 1e-3)

    def in_place(self, h: Any) -> Any:
        """Run the updates before the outputs, as slim does with `updates_collections=None`."""
        from tensorflow.python.training.moving_averages import assign_moving_average

        gamma, beta, mean, variance = self.variables(h.shape[-1])
        fused = self.v1.nn.fused_batch_norm
        if not self.training:
            return fused(h, gamma, beta, mean, variance, 1e-3, is_training=False)[0]
        out, *batch = fused(h, gamma, beta, epsilon=1e-3)
        averages = zip((mean, variance), batch, strict=True)
        with self.tf.control_dependencies([assign_moving_average(*each, 0.9, zero_debias=False) for each in averages]):
            return self.tf.identity(out)

    def zero_debias(self, h: Any) -> Any:
        """Correct the bias of the averages with additional variables, as `tf.contrib.layers` does."""
        from tensorflow.python.training.moving_averages import assign_moving_average

        gamma, beta, mean, variance = self.variables(h.shape[-1])
        if not self.training:
            return self.tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-3)
        batch = self.tf.nn.moments(h, list(range(h.shape.rank - 1)))
        for average, value in zip((mean, variance), batch, strict=True):
            self.v1.add_to_collection("update_ops", assign_moving_average(average, value, 0.9, zero_debias=True))
        return self.tf.nn.batch_normalization(h, *batch, beta, gamma, 1e-3)

    def half(self, h: Any) -> Any:
        """Normalise in half precision, with averages in single precision."""
        tf = self.tf
        gamma, beta, mean, variance = self.variables(h.shape[-1])
        small = tf.cast(h, tf.float16)
        trained = [tf.cast(each, tf.float16) for each in (beta, gamma)]
        used = [tf.cast(each, tf.float16) for each in (mean, variance)]
        if self.training:
            used = list(tf.nn.moments(small, list(range(h.shape.rank - 1))))
            for average, value in zip((mean, variance), used, strict=True):
                self.update(average, tf.cast(value, tf.float32))
        return tf.cast(tf.nn.batch_normalization(small, *used, *trained, 1e-3), tf.float32)

    def images_first(self, h: Any) -> Any:
        """Put the channels first, so that averages of [8] correspond to statistics of [1, 8, 1, 1]."""
        tf = self.tf
        if h.shape.rank == 2:
            return self.moments(h)
        gamma, beta, mean, variance = [tf.reshape(each, [1, -1, 1, 1]) for each in self.variables(h.shape[-1])]
        first = tf.transpose(h, [0, 3, 1, 2])
        if self.training:
            averages = self.v1.global_variables()[-2:]
            mean, variance = tf.nn.moments(first, [0, 2, 3], keepdims=True)
            for average, value in zip(averages, (mean, variance), strict=True):
                self.update(average, tf.squeeze(value, [0, 2, 3]))
        return tf.transpose(tf.nn.batch_normalization(first, mean, variance, beta, gamma, 1e-3), [0, 2, 3, 1])

    def synchronised(self, h: Any) -> Any:
        """Compute the variance as the mean of squares minus the square of the mean, as replicas do."""
        tf = self.tf
        gamma, beta, mean, variance = self.variables(h.shape[-1])
        if self.training:
            averages, axes = (mean, variance), list(range(h.shape.rank - 1))
            count = tf.cast(tf.size(h) / h.shape[-1], tf.float32)
            mean = tf.reduce_sum(h, axes) / count
            variance = tf.reduce_sum(tf.square(h), axes) / count - tf.square(mean)
            self.update(averages[0], mean)
            self.update(averages[1], variance * (count / (count - 1)))
        return tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-3)


FORMS: dict[str, Callable[[Norm, Any], Any]] = {
    "both": lambda norm, h: norm.fused(h) if h.shape.rank == 4 else norm.moments(h),
    "moments": Norm.moments,
    "keepdims": lambda norm, h: norm.moments(h, keepdims=True),
    "references": Norm.references,
    "in_place": lambda norm, h: norm.in_place(h) if h.shape.rank == 4 else norm.moments(h),
    "zero_debias": Norm.zero_debias,
    "half": Norm.half,
    "images_first": Norm.images_first,
    "synchronised": Norm.synchronised,
}


def logits_of(inputs: Any, training: bool, form: str, rate: float = 0.3) -> Any:
    import tensorflow as tf

    v1, norm = tf.compat.v1, Norm(training)
    with v1.variable_scope("conv1"):
        h = tf.nn.conv2d(inputs, v1.get_variable("kernel", [3, 3, 2, 4]), 1, "SAME")
    with v1.variable_scope("bn1"):
        h = tf.nn.relu(FORMS[form](norm, h))
    h = tf.reshape(h, [-1, 4 * 4 * 4])
    with v1.variable_scope("fc"):
        h = tf.matmul(h, v1.get_variable("kernel", [4 * 4 * 4, 8]))
    with v1.variable_scope("bn2"):
        h = tf.nn.relu(FORMS[form](norm, h))
    if training and rate:
        h = tf.nn.dropout(h, rate, name="drop")
    with v1.variable_scope("logits"):
        return tf.add(tf.matmul(h, v1.get_variable("kernel", [8, 3])), v1.get_variable("bias", [3]), name="logits")


def write(folder: Path, form: str, rate: float = 0.3) -> None:
    """Train a network built for training, save it, and compute the outputs of the same weights in inference mode."""
    import tensorflow as tf

    v1 = tf.compat.v1
    images, labels = rows()
    np.savez(folder / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(3)
        inputs, y = v1.placeholder(tf.float32, [None, 4, 4, 2], "X"), v1.placeholder(tf.int32, [None], "y")
        compared = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits_of(inputs, True, form, rate))
        loss = tf.reduce_mean(compared, name="loss")
        with tf.control_dependencies([*v1.get_collection("update_ops"), *v1.get_collection("mine")]):
            train = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        session.run(v1.global_variables_initializer())
        for start in (0, 20, 40) * 4:
            session.run(train, {inputs: images[start : start + 20], y: labels[start : start + 20]})
        v1.get_default_graph().clear_collection("mine")
        v1.train.Saver().save(session, str(folder / "train.ckpt"), write_state=False)
    np.save(folder / "expected.npy", infer(folder / "train.ckpt", form))


def infer(prefix: Path, form: str) -> Any:
    """Compute the logits of a checkpoint in a graph built by TensorFlow for inference."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        inputs = v1.placeholder(tf.float32, [None, 4, 4, 2], "X")
        logits = logits_of(inputs, False, form)
        v1.train.Saver().restore(session, str(prefix))
        return session.run(logits, {inputs: rows()[0]})


def folded(path: Path) -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(v1.GraphDef.FromString(path.read_bytes()), name="")
        return session.run("logits/logits:0", {"X:0": rows()[0]})


def make(folder: Path) -> None:
    write(folder, "both")


def close(found: Any, expected: Any, tolerance: float = 1e-6) -> bool:
    return bool(np.abs(found - expected).max() <= tolerance * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMS)
def test_a_frozen_graph_normalises_by_the_moving_averages(form: str, tmp_path: Path, run: Run) -> None:
    write(tmp_path, form)
    printed = run(f"ckpttool fold {tmp_path}/train.ckpt -o {tmp_path}/frozen.pb")
    assert "2 batch norms and 1 dropout, built for training, rewritten to inference: bn1, bn2, drop" in printed
    tolerance = 1e-3 if form == "half" else 1e-6
    assert close(folded(tmp_path / "frozen.pb"), np.load(tmp_path / "expected.npy"), tolerance)


def test_an_exported_model_computes_as_in_inference_mode(folder: Path, run: Run) -> None:
    import tensorflow as tf

    run("ckpttool export-saved-model train.ckpt -o served")
    signature = tf.saved_model.load("served").signatures["serving_default"]
    found = signature(X=tf.constant(rows()[0]))["logits"].numpy()
    assert close(found, np.load("expected.npy"))


def test_predictions_and_figures_are_those_of_inference_mode(folder: Path, run: Run) -> None:
    printed = run("ckpttool predict train.ckpt --data data.npz -o found.npz")
    assert "2 batch norms and 1 dropout" in printed
    expected, labels = np.load("expected.npy"), rows()[1]
    assert close(np.load("found.npz")["logits"], expected)
    losses = np.log(np.exp(expected).sum(1)) - expected[np.arange(ROWS), labels]
    found = ckpttool.evaluate(ckpttool.Model.open("train.ckpt"), "data.npz", split="test")
    assert found.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert found.accuracy is None or found.accuracy == (expected.argmax(1) == labels).mean()


def test_frozen_layers_run_in_inference_mode_and_the_cache_has_a_row_for_each(folder: Path, run: Run) -> None:
    printed = run("ckpttool finetune train.ckpt --data data.npz --train logits --cache --epochs 1 -o tuned.ckpt")
    assert "2 batch norms and 1 dropout" not in printed, "dropout behind the frozen layers goes on"
    assert "2 batch norms, built for training, rewritten to inference: bn1, bn2" in printed
    before, after = ckpttool.open("train.ckpt"), ckpttool.open("tuned.ckpt")
    for name in (f"bn{layer}/moving_{kind}" for layer in (1, 2) for kind in ("mean", "variance")):
        assert np.array_equal(before[name].read(), after[name].read())
    run("ckpttool fold tuned.ckpt -o frozen.pb")
    assert close(folded(folder / "frozen.pb"), infer(folder / "tuned.ckpt", "both"))


@pytest.mark.parametrize("form", ["both", "references"])
def test_averages_move_on_where_training_goes_on(form: str, tmp_path: Path, run: Run) -> None:
    write(tmp_path, form)
    run(
        f"ckpttool finetune {tmp_path}/train.ckpt --data {tmp_path}/data.npz --freeze 'conv1|bn1' --epochs 1 "
        f"-o {tmp_path}/tuned.ckpt"
    )
    before, after = ckpttool.open(tmp_path / "train.ckpt"), ckpttool.open(tmp_path / "tuned.ckpt")
    assert set(before) <= set(after)
    moved = {name for name in before if not np.array_equal(before[name].read(), after[name].read())}
    averages = {name for name in before if "moving_" in name or "pop_" in name}
    assert moved & averages == {name for name in averages if name.startswith("bn2/")}
    run(f"ckpttool fold {tmp_path}/tuned.ckpt -o {tmp_path}/frozen.pb")
    assert close(folded(tmp_path / "frozen.pb"), infer(tmp_path / "tuned.ckpt", form))


@pytest.mark.parametrize("form", ["both", "references"])
def test_a_stripped_model_and_one_with_a_new_head_keep_averages_and_what_moves_them(
    form: str, tmp_path: Path, run: Run
) -> None:
    write(tmp_path, form)
    printed = run(f"ckpttool strip {tmp_path}/train.ckpt -o {tmp_path}/bare.ckpt")
    assert "2 batch norms and 1 dropout, built for training, unchanged" in printed
    run(
        f"ckpttool reuse {tmp_path}/train.ckpt --layers 'conv1|bn[12]|fc' --head 'out = dense(5)' "
        f"-o {tmp_path}/headed.ckpt"
    )
    source = ckpttool.open(tmp_path / "train.ckpt")
    averages = {name for name in source if "moving_" in name or "pop_" in name}
    for name in ("bare.ckpt", "headed.ckpt"):
        kept = ckpttool.open(tmp_path / name)
        assert all(np.array_equal(kept[average].read(), source[average].read()) for average in averages)
        assert len(load(tmp_path / f"{name}.meta").collection("update_ops")) == 4
    run(f"ckpttool fold {tmp_path}/bare.ckpt -o {tmp_path}/frozen.pb")
    assert close(folded(tmp_path / "frozen.pb"), np.load(tmp_path / "expected.npy"))


def test_a_frozen_model_trains_on_as_a_network_whose_lower_layers_are_in_inference_mode(folder: Path, run: Run) -> None:
    """One step with the graph's own training op equals TensorFlow's with the layers built for inference."""
    import tensorflow as tf

    run("ckpttool freeze train.ckpt --layers 'conv1|bn1' -o frozen.ckpt")
    v1, (images, labels) = tf.compat.v1, rows()
    with tf.Graph().as_default() as graph, v1.Session() as session:
        v1.train.import_meta_graph("frozen.ckpt.meta").restore(session, "frozen.ckpt")
        conv = [op.name for op in graph.get_operations() if op.type == "FusedBatchNormV3"]
        found = session.run(f"{conv[0]}:0", {"X:0": images[:7]})
        whole = session.run(f"{conv[0]}:0", {"X:0": images})
        assert close(found, whole[:7]), "a row is what it is, whatever its batch"
        averages = [v for v in v1.global_variables() if "moving_" in v.name]
        before = session.run(averages)
        session.run("GradientDescent", {"X:0": images, "y:0": labels})
        moved = {
            v.op.name for v, old, new in zip(averages, before, session.run(averages), strict=True) if (old != new).any()
        }
        assert moved == {"bn2/moving_mean", "bn2/moving_variance"}


@pytest.mark.parametrize("form", ["both", "moments", "synchronised"])
def test_gradients_pass_frozen_normalisation_as_in_inference_mode(form: str, tmp_path: Path, run: Run) -> None:
    """Train one step with the graph's own training op, whose gradients were built for training."""
    import tensorflow as tf

    write(tmp_path, form, rate=0.0)
    run(f"ckpttool freeze {tmp_path}/train.ckpt --layers 'bn[12]' -o {tmp_path}/frozen.ckpt")
    v1, (images, labels) = tf.compat.v1, rows()
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(f"{tmp_path}/frozen.ckpt.meta").restore(session, f"{tmp_path}/frozen.ckpt")
        session.run("GradientDescent", {"X:0": images, "y:0": labels})
        found = session.run({variable.op.name: variable for variable in v1.global_variables()})
    with tf.Graph().as_default(), v1.Session() as session:
        inputs = v1.placeholder(tf.float32, [None, 4, 4, 2], "X")
        compared = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits_of(inputs, False, form))
        v1.train.Saver().restore(session, f"{tmp_path}/train.ckpt")
        trained = [variable for variable in v1.trainable_variables() if not variable.name.startswith("bn")]
        step = v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(compared), var_list=trained)
        session.run(step, {inputs: images})
        expected = session.run({variable.op.name: variable for variable in v1.global_variables()})
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
