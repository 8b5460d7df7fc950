"""Ops that compute between a Saver and its variables: a recurrent layer for GPUs, and others like it."""

import re
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from ckpttool import checkpoint

D, H = 3, 4
CELL = "cudnn_lstm/rnn/multi_rnn_cell/cell_0/cudnn_compatible_lstm_cell"


def make(folder: Path) -> None:
    """A GPU graph, whose Saver converts canonical kernels into one opaque variable; and a CPU graph."""
    shutil.copytree(built(), folder, dirs_exist_ok=True)


@cache
def built() -> Path:
    """Build the models once."""
    folder = Path(mkdtemp())
    random = np.random.default_rng(0)
    shapes = {f"{CELL}/kernel": [D + H, 4 * H], f"{CELL}/bias": [4 * H], "outputs/kernel": [H, 3], "outputs/bias": [3]}
    values = {name: random.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    checkpoint.save(values, folder / "gpu.ckpt")
    gpu(folder, list(values))
    scaled(folder)
    return folder


def gpu(folder: Path, keys: list[str]) -> None:
    """Write the graph as built by contrib's CudnnLSTM."""
    import tensorflow as tf

    v1 = tf.compat.v1
    sizes = {"num_layers": 1, "num_units": H, "input_size": D, "rnn_mode": "lstm"}
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [5, None, D], "X")
        start = tf.zeros([4 * H * (D + H) + 8 * H])
        opaque = v1.get_variable(
            "cudnn_lstm/opaque_kernel", initializer=start, validate_shape=False, use_resource=False
        )
        zeros = tf.zeros([1, tf.shape(x)[1], H])
        ran = tf.raw_ops.CudnnRNNV2(input=x, input_h=zeros, input_c=zeros, params=opaque, rnn_mode="lstm")
        kernel = v1.get_variable("outputs/kernel", [H, 3], use_resource=False)
        bias = v1.get_variable("outputs/bias", [3], use_resource=False)
        tf.add(tf.matmul(ran[0][-1], kernel), bias, name="logits")
        with v1.name_scope("save"):
            file = v1.placeholder_with_default("model", [], "Const")
            common = {"prefix": file, "tensor_names": keys, "shape_and_slices": [""] * 4}
            read = tf.raw_ops.RestoreV2(**common, dtypes=[tf.float32] * 4, name="RestoreV2")
            weights = [part[:, k * H : (k + 1) * H] for part in (read[0][:D], read[0][D:]) for k in range(4)]
            tf.identity(weights[1], name="second_gate")
            biases = [read[1][k * H : (k + 1) * H] for k in range(4)] * 2
            params = tf.raw_ops.CudnnRNNCanonicalToParams(weights=weights, biases=biases, **sizes)
            assigns = [
                v1.assign(opaque, params, validate_shape=False),
                v1.assign(kernel, read[2]),
                v1.assign(bias, read[3]),
            ]
            tf.group(*assigns, name="restore_all")
            w, b = tf.raw_ops.CudnnRNNParamsToCanonical(params=opaque, num_params=8, **sizes)
            canonical = [tf.concat([tf.concat(w[:4], 1), tf.concat(w[4:], 1)], 0), tf.concat(b[:4], 0)]
            saved = tf.raw_ops.SaveV2(**common, tensors=[*canonical, kernel, bias])
            with tf.control_dependencies([saved]):
                tf.identity(file, name="control_dependency")
        v1.train.export_meta_graph(str(folder / "gpu.ckpt.meta"), saver_def=saver_def())


def scaled(folder: Path) -> None:
    """Write a model whose Saver stores half of a variable, as a program's own Saveable can."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 3], "X")
        w = v1.get_variable("fc/kernel", [3, 2], use_resource=False)
        tf.matmul(x, w, name="logits")
        with v1.name_scope("save"):
            file = v1.placeholder_with_default("model", [], "Const")
            common = {"prefix": file, "tensor_names": ["fc/half"], "shape_and_slices": [""]}
            (read,) = tf.raw_ops.RestoreV2(**common, dtypes=[tf.float32], name="RestoreV2")
            tf.group(v1.assign(w, read * 2.0), name="restore_all")
            with tf.control_dependencies([tf.raw_ops.SaveV2(**common, tensors=[w * 0.5])]):
                tf.identity(file, name="control_dependency")
        saver = v1.train.Saver(saver_def=saver_def())
        session.run(v1.global_variables_initializer())
        saver.save(session, str(folder / "half.ckpt"), write_state=False)
        np.savez(folder / "half.npz", logits=session.run("logits:0", {x: np.eye(3)}))


def saver_def():
    """Return the SaverDef of the ops in `save`."""
    import tensorflow as tf

    names = {"filename_tensor_name": "save/Const:0", "save_tensor_name": "save/control_dependency:0"}
    return tf.compat.v1.train.SaverDef(**names, restore_op_name="save/restore_all", version=2, max_to_keep=5)


def computed(prefix: str, tensor: str, feeds: dict) -> np.ndarray:
    """Return what the Saver of a graph restores, computed by TensorFlow where no GPU is needed."""
    import tensorflow as tf

    v1 = tf.compat.v1
    meta = v1.MetaGraphDef.FromString(Path(f"{prefix}.meta").read_bytes())
    part = v1.graph_util.extract_sub_graph(meta.graph_def, [tensor.partition(":")[0]])
    with tf.Graph().as_default(), v1.Session() as session:
        tf.graph_util.import_graph_def(part, name="")
        return session.run(tensor, feeds)


def test_a_cast_changes_what_the_saver_reads_on_its_way_to_the_opaque_variable(folder, run):
    run("ckpttool edit gpu.ckpt --cast float16 -o out.ckpt")
    assert {tensor.dtype.name for tensor in checkpoint.open("out.ckpt").values()} == {"float16"}
    kernel = checkpoint.open("out.ckpt")[f"{CELL}/kernel"].read().astype("f4")
    second = computed("out.ckpt", "save/second_gate:0", {"save/Const:0": "out.ckpt"})
    np.testing.assert_array_equal(second, kernel[:D, H : 2 * H])


def test_names_of_what_is_read_change_with_the_saver(folder, run):
    run(f"ckpttool edit gpu.ckpt --rename '{CELL}=>rnn/lstm_cell' -o out.ckpt")
    kernel = checkpoint.open("gpu.ckpt")[f"{CELL}/kernel"].read()
    second = computed("out.ckpt", "save/second_gate:0", {"save/Const:0": "out.ckpt"})
    np.testing.assert_array_equal(second, kernel[:D, H : 2 * H])
    assert "rnn/lstm_cell/kernel" in run("ckpttool vars out.ckpt")


@pytest.mark.parametrize("edit", ["--slice '{}/kernel=0:0:5'", "--drop {}/bias", "--pad '{}/bias=0:0,4'"])
def test_shapes_that_ops_of_the_saver_compute_with_are_refused_with_the_way_out(folder, run, edit):
    given = edit.format(CELL)
    said = run(f"ckpttool edit gpu.ckpt {given} -o out.ckpt", exit_code=2)
    assert f"the graph's Saver computes cudnn_lstm/opaque_kernel of {CELL}/" in said and "--no-graph" in said
    run(f"ckpttool edit gpu.ckpt {given} --no-graph -o out.ckpt")


def test_layers_beside_it_are_edited_and_averaged(folder, run):
    run("ckpttool edit gpu.ckpt --resize 'outputs/kernel = to(5, axis=1, fill=zeros)' -o out.ckpt")
    assert checkpoint.open("out.ckpt")["outputs/bias"].shape == (5,)
    run("ckpttool average gpu.ckpt gpu.ckpt -o mean.ckpt")
    second = computed("mean.ckpt", "save/second_gate:0", {"save/Const:0": "mean.ckpt"})
    np.testing.assert_array_equal(second, checkpoint.open("gpu.ckpt")[f"{CELL}/kernel"].read()[:D, H : 2 * H])


def test_what_only_the_saver_can_make_is_said(folder, run):
    said = run("ckpttool fold gpu.ckpt --outputs logits -o out.pb", exit_code=2)
    assert re.search(rf"computes cudnn_lstm/opaque_kernel of {CELL}/kernel, {CELL}/bias", said)
    said = run("ckpttool strip half.ckpt --outputs logits -o out.ckpt", exit_code=2)
    assert "computes fc/kernel of fc/half" in said


def test_any_ops_between_saver_and_variable_keep_their_meaning(folder, run):
    import tensorflow as tf

    v1 = tf.compat.v1
    run("ckpttool edit half.ckpt --cast float16 --rename fc/half=>top/half -o out.ckpt")
    with tf.Graph().as_default(), v1.Session() as session, np.load("half.npz") as arrays:
        saver = v1.train.import_meta_graph("out.ckpt.meta")
        saver.restore(session, "out.ckpt")
        saver.restore(session, saver.save(session, "again.ckpt", write_state=False))
        np.testing.assert_allclose(session.run("logits:0", {"X:0": np.eye(3)}), arrays["logits"], atol=1e-3)
