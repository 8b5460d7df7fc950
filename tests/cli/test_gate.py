"""Models that act when they are run: rejected by every command that runs a graph, with nothing written."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import GraphError
from ckpttool.graph.files import load
from ckpttool.runtime.build import with_gradients

WEIGHTS = {
    "hidden1/kernel": np.ones((4, 5), np.float32),
    "outputs/average": np.zeros((), np.float32),
    "outputs/kernel": np.ones((5, 3), np.float32),
}
ACTS: dict[str, tuple[str, Callable[[Any, Path], Any]]] = {}
"""By name: the type of the rejected op, and its builder, which takes a number and the file that must not appear."""


def acts(refused: str) -> Callable[[Callable[[Any, Path], Any]], Any]:
    def add(build: Callable[[Any, Path], Any]) -> Any:
        ACTS[build.__name__] = refused, build
        return build

    return add


def written(tf: Any, canary: Path) -> Any:
    """A number that depends on the writing of a file."""
    with tf.control_dependencies([tf.io.write_file(str(canary), "acted")]):
        return tf.constant(1.0)


@acts("WriteFile")
def write_file(tf: Any, canary: Path) -> Any:
    return written(tf, canary)


@acts("ReadFile")
def read_file(tf: Any, canary: Path) -> Any:
    return tf.cast(tf.strings.length(tf.io.read_file(__file__)), tf.float32)


@acts("PyFunc")
def py_func(tf: Any, canary: Path) -> Any:
    return tf.compat.v1.py_func(lambda: np.float32(canary.write_bytes(b"acted")), [], tf.float32)


@acts("MergeV2Checkpoints")
def merge_checkpoints(tf: Any, canary: Path) -> Any:
    merged = tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[str(canary)], destination_prefix=str(canary))
    with tf.control_dependencies([merged]):
        return tf.constant(1.0)


@acts("SaveV2")
def save(tf: Any, canary: Path) -> Any:
    saved = tf.raw_ops.SaveV2(prefix=str(canary), tensor_names=["x"], shape_and_slices=[""], tensors=[tf.constant(1.0)])
    with tf.control_dependencies([saved]):
        return tf.constant(1.0)


@acts("RestoreV2")
def restore(tf: Any, canary: Path) -> Any:
    names = {"tensor_names": ["x"], "shape_and_slices": [""], "dtypes": [tf.float32]}
    return tf.raw_ops.RestoreV2(prefix=str(canary), **names)[0]


@acts("PrintV2")
def print_to_a_file(tf: Any, canary: Path) -> Any:
    with tf.control_dependencies([tf.raw_ops.PrintV2(input="acted", output_stream=f"file://{canary}")]):
        return tf.constant(1.0)


@acts("DebugIdentity")
def debug(tf: Any, canary: Path) -> Any:
    return tf.raw_ops.DebugIdentity(input=tf.constant(1.0), tensor_name="a:0", debug_urls=[f"file://{canary}"])


@acts("ImmutableConst")
def mapped_memory(tf: Any, canary: Path) -> Any:
    return tf.raw_ops.ImmutableConst(dtype=tf.float32, shape=[], memory_region_name=__file__)


@acts("Abort")
def abort(tf: Any, canary: Path) -> Any:
    with tf.control_dependencies([tf.raw_ops.Abort(error_msg="acted", exit_without_error=False)]):
        return tf.constant(1.0)


@acts("WriteFile")
def three_calls_deep(tf: Any, canary: Path) -> Any:
    inner = tf.function(lambda: written(tf, canary))
    middle = tf.function(lambda: inner() + 1.0)
    return tf.function(lambda: middle() + 1.0)()


@acts("WriteFile")
def a_branch_that_is_not_taken(tf: Any, canary: Path) -> Any:
    choose = tf.function(lambda go: tf.cond(go, lambda: written(tf, canary), lambda: tf.constant(2.0)))
    return choose(tf.compat.v1.placeholder_with_default(False, ()))


@acts("WriteFile")
def a_branch_of_tensorflow_1(tf: Any, canary: Path) -> Any:
    never = tf.compat.v1.placeholder_with_default(0.0, ()) > 1.0
    return tf.compat.v1.cond(never, lambda: written(tf, canary), lambda: tf.constant(2.0))


@acts("WriteFile")
def a_loop_that_is_not_entered(tf: Any, canary: Path) -> Any:
    loop = tf.function(lambda start: tf.while_loop(lambda i: i > 9.0, lambda i: i + written(tf, canary), [start])[0])
    return loop(tf.constant(0.0))


@acts("MapDataset")
def a_data_set_with_a_map(tf: Any, canary: Path) -> Any:
    rows = tf.data.Dataset.from_tensors(1.0).map(lambda one: one + written(tf, canary))
    return tf.raw_ops.DatasetToSingleElement(
        dataset=rows._variant_tensor, output_types=[tf.float32], output_shapes=[[]]
    )[0]


@acts("DatasetFromGraph")
def a_graph_in_a_constant(tf: Any, canary: Path) -> Any:
    made = tf.raw_ops.DatasetFromGraph(graph_def=b"a serialised graph")
    return tf.raw_ops.DatasetToSingleElement(dataset=made, output_types=[tf.float32], output_shapes=[[]])[0]


@acts("InitializeTableFromTextFileV2")
def a_table_from_a_file(tf: Any, canary: Path) -> Any:
    table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    filled = tf.raw_ops.InitializeTableFromTextFileV2(
        table_handle=table, filename=__file__, key_index=-2, value_index=-1
    )
    with tf.control_dependencies([filled]):
        return tf.constant(1.0)


@acts("FixedUnigramCandidateSampler")
def a_sampler_with_a_file(tf: Any, canary: Path) -> Any:
    drawn = tf.random.fixed_unigram_candidate_sampler([[1]], 1, 1, False, 5, vocab_file=__file__)
    return tf.cast(drawn[0][0], tf.float32)


def build(folder: Path, act: Callable[[Any, Path], Any], where: str = "logits") -> tuple[Path, Path]:
    """Write the network 4-5-3 with an act before its hidden layer, logits, update op, initialiser or training op."""
    import tensorflow as tf

    tf1, canary, prefix = tf.compat.v1, folder / "canary", folder / "model.ckpt"
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, (None, 4), name="X")
        y = tf1.placeholder(tf.int32, (None,), name="y")
        number = act(tf, canary) * 0.0
        with tf1.variable_scope("hidden1"):
            start = tf.random.normal([4, 5], seed=1) + (number if where == "initialiser" else 0.0)
            kernel = tf1.get_variable("kernel", initializer=start, use_resource=False)
            hidden = tf.nn.relu(x @ kernel + (number if where == "hidden" else 0.0), name="Relu")
        with tf1.variable_scope("outputs"):
            top = tf1.get_variable("kernel", initializer=tf.random.normal([5, 3], seed=2), use_resource=False)
            average = tf1.get_variable("average", initializer=0.0, trainable=False, use_resource=False)
            logits = tf.add(hidden @ top, (number if where == "logits" else 0.0) + average, name="logits")
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
        loss = tf.reduce_mean(entropy, name="loss/loss")
        if where == "update":
            tf1.add_to_collection(tf1.GraphKeys.UPDATE_OPS, tf1.assign(average, number))
        with tf.control_dependencies([number] if where == "train" else []):
            tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
        saver = tf1.train.Saver()
        definition = tf1.train.export_meta_graph(graph=graph, saver_def=saver.saver_def)
        (folder / "model.ckpt.meta").write_bytes(definition.SerializeToString())
    checkpoint.save(WEIGHTS, prefix)
    return prefix, canary


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(shell: Any, op: str, canary: Path, *command: str | Path) -> None:
    """Check that a command ends with one line, with the op's type and the option, and that no file was written."""
    before = files(canary.parent)
    *_, said = shell.run(*command, exit_code=2).stderr.splitlines()
    assert said.startswith("Error: ") and "can have side effects" in said and op in said and "--allow-op" in said
    assert files(canary.parent) == before


@pytest.mark.parametrize("name", ACTS)
def test_no_act_on_the_way_to_the_logits_is_run(shell: Any, tmp_path: Path, data: Path, name: str) -> None:
    op, act = ACTS[name]
    prefix, canary = build(tmp_path, act)
    refused(shell, op, canary, "evaluate", prefix, "--data", data)
    refused(shell, op, canary, "predict", prefix, "--data", data, "-o", tmp_path / "answers.npz")


COMMANDS = {
    "finetune": "finetune {}/model.ckpt --data {data} --epochs 1 -o {}/out.ckpt",
    "finetune --optimizer": "finetune {}/model.ckpt --data {data} --optimizer momentum(0.1) -o {}/out.ckpt",
    "finetune --train-op": "finetune {}/model.ckpt --data {data} --train-op GradientDescent --epochs 1 -o {}/out.ckpt",
    "cache": "cache {}/model.ckpt --freeze hidden1 --data {data} --cache-dir {}/cache",
    "diagnose": "diagnose {}/model.ckpt --data {data}",
    "lr-find": "lr-find {}/model.ckpt --data {data}",
    "reuse": "reuse {}/model.ckpt --layers outputs -o {}/out.ckpt",
}


@pytest.mark.parametrize(
    ("command", "where"),
    [
        ("finetune", "logits"),
        ("finetune", "update"),
        ("finetune --optimizer", "logits"),
        ("finetune --optimizer", "update"),
        ("finetune --train-op", "train"),
        ("cache", "hidden"),
        ("diagnose", "logits"),
        ("lr-find", "logits"),
        ("lr-find", "update"),
        ("reuse", "initialiser"),
    ],
)
def test_every_command_that_runs_a_graph_refuses(
    shell: Any, tmp_path: Path, data: Path, command: str, where: str
) -> None:
    _, canary = build(tmp_path, write_file, where)
    refused(shell, "WriteFile", canary, *COMMANDS[command].replace("{}", str(tmp_path)).format(data=data).split())


def test_a_training_op_that_is_replaced_is_not_run(shell: Any, tmp_path: Path, data: Path) -> None:
    _, canary = build(tmp_path, write_file, "train")
    command = COMMANDS["finetune"].replace("{}", str(tmp_path)).format(data=data).split()
    shell.run(*command)
    assert not canary.exists()


def test_a_sample_is_not_compared(shell: Any, tmp_path: Path) -> None:
    prefix, canary = build(tmp_path, write_file)
    weights, sample = tmp_path / "weights.npz", tmp_path / "sample.npz"
    np.savez(weights, **WEIGHTS)
    np.savez(sample, X=np.ones((2, 4), "f"), outputs=np.ones((2, 3), "f"))
    command = ("import", weights, "--into", prefix, "--check", sample, "-o", tmp_path / "out.ckpt")
    said = shell.run(*command, exit_code=2).stderr
    assert "(WriteFile)" in said and "--allow-op WriteFile" in said and not canary.exists()
    assert not [*tmp_path.glob("*out.ckpt*")]


def test_what_a_shape_depends_on_is_not_run_by_the_import(tmp_path: Path) -> None:
    """TensorFlow evaluates stateless ops when it imports a graph, to infer shapes: also those that write files."""

    def shaped(tf: Any, canary: Path) -> Any:
        size = tf.raw_ops.DebugIdentity(input=tf.constant(1), tensor_name="a:0", debug_urls=[f"file://{canary}"])
        return tf.reshape(tf.zeros([1]), tf.stack([size, 1]))[0, 0]

    prefix, canary = build(tmp_path, shaped)
    shutil.rmtree(canary)  # written when it was built
    with pytest.raises(GraphError, match=r"\(DebugIdentity\) can have side effects"):
        with_gradients(load(prefix), "loss/loss:0", [], ["hidden1/kernel"])
    assert not canary.exists()


def test_what_is_allowed_runs_and_is_said(shell: Any, tmp_path: Path, data: Path) -> None:
    prefix, canary = build(tmp_path, write_file)
    said = shell.run("evaluate", prefix, "--data", data, "--allow-op", "WriteFile").stderr
    assert "allowed to run, although they can have side effects: WriteFile" in said
    assert canary.read_text() == "acted"


def test_all_types_that_act_are_named_at_once(shell: Any, tmp_path: Path, data: Path) -> None:
    prefix, _ = build(tmp_path, lambda tf, canary: write_file(tf, canary) + read_file(tf, canary))
    said = shell.error("evaluate", prefix, "--data", data)
    assert "(so may ReadFile)" in said or "(so may WriteFile)" in said
    shell.run("evaluate", prefix, "--data", data, "--allow-op", "WriteFile", "--allow-op", "ReadFile")


def test_a_file_of_options_allows_nothing(shell: Any, tmp_path: Path, data: Path) -> None:
    prefix, canary = build(tmp_path, write_file)
    (tmp_path / "options.toml").write_text('allow-op = ["WriteFile"]\n')
    said = shell.run("evaluate", prefix, "--data", data, "--config", tmp_path / "options.toml", exit_code=2).stderr
    assert "allow-op: can only be specified on the command line" in said and not canary.exists()


def test_savers_are_no_part_of_what_is_run(shell: Any, tmp_path: Path, data: Path) -> None:
    prefix, _ = build(tmp_path, lambda tf, canary: tf.constant(1.0))
    shell.run("evaluate", prefix, "--data", data)
    shell.run("finetune", prefix, "--data", data, "--epochs", "1", "-o", tmp_path / "out.ckpt")
