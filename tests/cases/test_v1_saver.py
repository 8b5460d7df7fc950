"""TensorFlow 0.x models have `RestoreSlice` ops, which read only version 1 files: outputs can be restored by them."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.graph import files
from ckpttool.graph.contents.restoring import restore_problems

FED = np.arange(8, dtype="f4").reshape(2, 4)


def make(folder: Path) -> None:
    """Networks with old savers: plain, with two shards, with a partitioned variable, and one for version 1 alone."""
    shutil.copytree(built(), folder, dirs_exist_ok=True)


@cache
def built() -> Path:
    """Build the networks once."""
    folder = Path(mkdtemp())
    build(folder / "old")
    build(folder / "sharded", sharded=True)
    build(folder / "parts", partitioned=True)
    build(folder / "resource", use_resource=True)
    build(folder / "writer", reads_old=False)
    build(folder / "two", others=True)
    return folder


def build(
    prefix: Path,
    sharded: bool = False,
    partitioned: bool = False,
    use_resource: bool = False,
    reads_old: bool = True,
    others: bool = False,
) -> None:
    """Write a network as TensorFlow 0.x did, in version 1 files."""
    import tensorflow as tf
    from tensorflow.python.ops import gen_io_ops
    from tensorflow.python.training import saver

    v1 = tf.compat.v1

    class Builder(saver.BaseSaverBuilder):
        def restore_op(self, filename_tensor, saveable, preferred_shard):
            if reads_old:
                return [
                    gen_io_ops.restore_slice(filename_tensor, s.name, s.slice_spec, s.dtype) for s in saveable.specs
                ]
            return super().restore_op(filename_tensor, saveable, preferred_shard)

    def saver_of(**given):
        return v1.train.Saver(builder=Builder(v1.train.SaverDef.V1), write_version=v1.train.SaverDef.V1, **given)

    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        x = v1.placeholder(tf.float32, [None, 4], "X")
        with v1.variable_scope("h", use_resource=use_resource):
            slices = v1.fixed_size_partitioner(2, axis=1) if partitioned else None
            kernel = v1.get_variable("kernel", [4, 3], partitioner=slices)
            with tf.device("/cpu:0" if sharded else None):
                bias = v1.get_variable("bias", [3], initializer=v1.ones_initializer())
        tf.add(tf.matmul(x, tf.convert_to_tensor(kernel)), bias, name="output")
        own = saver_of(sharded=sharded)
        session.run(v1.global_variables_initializer())
        if others:  # more savers, with other names, as in a program that starts from a pretrained model
            more = saver_of(var_list={"pretrained/w": kernel})
            v1.add_to_collection("savers", own)
            v1.add_to_collection("savers", more)
        own.save(session, str(prefix), write_state=False)


def restored(prefix: str, output: str = "output:0") -> np.ndarray:
    """Restore a pair with the graph's own saver, save it with that and restore it again; return the graph's output."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(f"{prefix}.meta")
        saver.restore(session, prefix)
        saver.restore(session, saver.save(session, f"{prefix}_again", write_state=False))
        return session.run(output, {"X:0": FED})


def expected(prefix: str) -> np.ndarray:
    """Compute the network's output from the tensors of a version 1 file."""
    tensors = checkpoint.open(next(iter(sorted(Path().glob(f"{prefix}-0*-of-*"))), prefix))
    return FED @ tensors["h/kernel"].read() + tensors["h/bias"].read()


def test_the_old_pair_is_one_of_version_1(folder):
    assert {"RestoreSlice", "SaveSlices"} <= {node.op for node in files.load("old.meta").nodes.values()}
    np.testing.assert_allclose(restored("old"), expected("old"), rtol=1e-6)


@pytest.mark.parametrize("case", ["old", "sharded", "parts", "resource", "writer", "two"])
def test_what_edit_writes_is_restored_by_the_graphs_own_saver(folder, run, case):
    said = run(f"ckpttool edit {case} --rename h=>g -o new")
    assert ("reads files of version 1 only; that of new.meta reads both" in said) == (case != "writer")
    np.testing.assert_allclose(restored("new"), expected(case), rtol=1e-6)


@pytest.mark.parametrize(
    "command",
    [
        "modernize old -o out",
        "average old old -o out",
        "edit old --cast float16 -o out",
        "reuse old --layers h -o out",
        "reuse old --layers h --into two.meta -o out",
        "import old.npz --into old.meta -o out",
        "split old --shard-size 20 -o out",
        "strip old --outputs output -o out",
    ],
)
def test_every_verb_writes_a_pair_that_restores(folder, run, command):
    run("ckpttool convert old -o old.npz")
    run(f"ckpttool {command}")
    np.testing.assert_allclose(restored("out"), expected("old"), atol=1e-2)


def test_the_new_graph_still_restores_the_old_file(folder, run):
    run("ckpttool edit old -o new")
    graph = files.load("new.meta")
    assert not [*restore_problems(graph, {spec.name: spec for spec in checkpoint.open("old").specs()})]
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.train.import_meta_graph("new.meta").restore(session, "old")
        np.testing.assert_allclose(session.run("output:0", {"X:0": FED}), expected("old"), rtol=1e-6)
