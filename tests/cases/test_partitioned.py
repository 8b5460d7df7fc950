"""Partitioned variables of another size: parts stay equal, as look-ups by division and partitioners require."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from ckpttool import checkpoint

KINDS = ["div", "resource", "two_d", "joined", "uneven"]


def make(folder: Path) -> None:
    """Tables of ten rows in three parts, looked up in several ways, and trained by an optimizer with slots."""
    shutil.copytree(built(), folder, dirs_exist_ok=True)


@cache
def built() -> Path:
    """Build the models once."""
    folder = Path(mkdtemp())
    for kind in (*KINDS, "mod"):
        build(folder / f"{kind}.ckpt", kind)
    return folder


def build(prefix: Path, kind: str) -> None:
    """Write a table and the ops that look up its rows."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        flat = kind != "two_d"
        ids = v1.placeholder(tf.int32 if flat else tf.int64, [None] if flat else [None, None], "ids")
        parts = v1.fixed_size_partitioner(3)
        if kind == "uneven":
            parts = v1.variable_axis_size_partitioner(4 * 4 * 4)  # parts of four, four and two rows
        with v1.variable_scope("emb", partitioner=parts, use_resource=kind == "resource"):
            table = v1.get_variable("table", [12 if kind == "uneven" else 10, 4])
        if kind in ("joined", "uneven"):
            rows = tf.gather(tf.convert_to_tensor(table), ids)
        else:
            rows = v1.nn.embedding_lookup(table, ids, partition_strategy="mod" if kind == "mod" else "div")
        out = tf.identity(rows, name="out")
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_mean(tf.square(out - 1.0), name="loss"))
        session.run(v1.global_variables_initializer())
        session.run("Momentum", {ids: [[1, 2]] if kind == "two_d" else [1, 2]})
        v1.train.Saver().save(session, str(prefix), write_state=False)


def looked_up(prefix: str, ids: list) -> tuple[np.ndarray, np.ndarray]:
    """Restore a pair in TensorFlow, look rows up, train a step and look them up again."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph(f"{prefix}.meta").restore(session, prefix)
        before = session.run("out:0", {"ids:0": ids})
        names = {op.name for op in session.graph.get_operations()}
        if "Momentum" in names:
            session.run("Momentum", {"ids:0": ids})
        return before, session.run("out:0", {"ids:0": ids})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [13, 22])
def test_every_row_of_a_longer_table_is_found(folder, run, kind, size):
    run(f"ckpttool edit {kind}.ckpt --resize 'emb/table = to({size}, axis=0, fill=mean)' -o out.ckpt")
    table = checkpoint.open("out.ckpt")["emb/table"].read()
    old = checkpoint.open(f"{kind}.ckpt")["emb/table"].read()
    np.testing.assert_array_equal(table[: len(old)], old)
    ids = [list(range(size))] if kind == "two_d" else list(range(size))
    before, after = looked_up("out.ckpt", ids)
    np.testing.assert_array_equal(before, table[np.array(ids)])
    if "Momentum" in run("ckpttool ops out.ckpt --type NoOp"):  # else a note says that the training op is removed
        assert np.abs(after - 1).max() < np.abs(before - 1).max()


@pytest.mark.parametrize("kind", ["div", "resource", "joined"])
def test_a_shorter_table(folder, run, kind):
    run(f"ckpttool edit {kind}.ckpt --slice 'emb/table=0:0:7' -o out.ckpt")
    before, _ = looked_up("out.ckpt", list(range(7)))
    np.testing.assert_array_equal(before, checkpoint.open(f"{kind}.ckpt")["emb/table"].read()[:7])
    said = run(f"ckpttool edit {kind}.ckpt --slice 'emb/table=0:0:2' -o none.ckpt", exit_code=2)
    assert "leaves no elements for its slice" in said


def test_wider_rows_of_any_look_up(folder, run):
    for kind in ("div", "mod", "joined"):
        run(f"ckpttool edit {kind}.ckpt --resize 'emb/table = to(6, axis=1, fill=zeros)' -o {kind}_wide.ckpt")
        plain, _ = looked_up(f"{kind}.ckpt", [0, 5, 9])
        wide, _ = looked_up(f"{kind}_wide.ckpt", [0, 5, 9])
        np.testing.assert_array_equal(wide[:, :4], plain)


def test_rows_that_go_to_the_parts_in_turn_are_refused_with_the_way_out(folder, run):
    said = run("ckpttool edit mod.ckpt --resize 'emb/table = to(13, axis=0, fill=mean)' -o out.ckpt", exit_code=2)
    assert "partition_strategy mod" in said and "--no-graph writes the checkpoint alone" in said
    run("ckpttool edit mod.ckpt --resize 'emb/table = to(13, axis=0, fill=mean)' --no-graph -o out.ckpt")
