"""`import`: weights of another framework in the chapter's graph, verified by running the output."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.runtime.configure import tensorflow

KERNEL = np.float32([[1, 2, 3], [4, 5, 6]])
BIAS = np.float32([7, 8, 9])
ANSWER = [[61.0, 83.0, 105.0]]


def build(resource: bool = False, optimizer: bool = False) -> Any:
    """The chapter's hidden1, its init op and a saver; with an optimizer also slots and a step."""
    tf1 = tensorflow().compat.v1
    X = tf1.placeholder(tf1.float32, (None, 2), name="X")
    with tf1.variable_scope("hidden1", use_resource=resource):
        kernel = tf1.get_variable("kernel", (2, 3))
        bias = tf1.get_variable("bias", (3,), initializer=tf1.zeros_initializer())
    hidden = tf1.nn.relu(tf1.matmul(X, kernel) + bias, name="hidden1/Relu")
    if optimizer:
        step = tf1.train.get_or_create_global_step()
        tf1.train.MomentumOptimizer(0.1, 0.9).minimize(tf1.reduce_mean(hidden), step)
    tf1.global_variables_initializer()
    return tf1.train.Saver()


@pytest.fixture(params=[False, True], ids=["reference", "resource"])
def graph(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A graph without a checkpoint."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        build(request.param).export_meta_graph(str(tmp_path / "graph.meta"))
    return tmp_path / "graph.meta"


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A model with a checkpoint, slots and a step."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        saver = build(optimizer=True)
        session.run("init")
        saver.save(session, str(tmp_path / "model.ckpt"))
    return tmp_path / "model.ckpt"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["hidden1/kernel"], file["hidden1/bias"] = KERNEL, BIAS
    return tmp_path / "weights.h5"


def restored(prefix: Path) -> Any:
    """hidden1's output for [10, 11] after TensorFlow has restored the model."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(f"{prefix}.meta").restore(session, str(prefix))
        return session.run("hidden1/Relu:0", {"X:0": [[10.0, 11.0]]}).tolist()


def initialised(prefix: Path) -> Any:
    """The same after the graph's own init op, without a checkpoint."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(f"{prefix}.meta")
        session.run("init")
        return session.run("hidden1/Relu:0", {"X:0": [[10.0, 11.0]]}).tolist()


def test_the_chapters_example(shell: Any, graph: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "imported.ckpt"
    result = shell.run("import", weights, "--into", graph, "-o", out)
    assert result.stdout.splitlines() == [
        "hidden1\thidden1/kernel\t[2, 3]\trestored from hidden1/kernel\ttrained",
        "hidden1\thidden1/bias\t[3]\trestored from hidden1/bias\ttrained",
    ]
    written, unchecked = result.stderr.splitlines()
    assert written == f"{out}: written and read back, 2 tensors imported"
    assert unchecked.startswith("nothing was checked numerically: --check REFERENCE")
    assert restored(out) == ANSWER
    assert initialised(out) != ANSWER


def test_baked_the_init_op_gives_the_values(shell: Any, graph: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "baked.ckpt"
    shell.run("import", weights, "--into", graph, "--bake", "-o", out)
    assert initialised(out) == restored(out) == ANSWER


def test_baking_twice_gives_the_last_values(shell: Any, graph: Path, weights: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "zeros.npz", **{"hidden1/kernel": KERNEL * 0, "hidden1/bias": BIAS * 0})
    shell.run("import", tmp_path / "zeros.npz", "--into", graph, "--bake", "-o", tmp_path / "first.ckpt")
    assert initialised(tmp_path / "first.ckpt") == [[0.0, 0.0, 0.0]]
    shell.run("import", weights, "--into", tmp_path / "first.ckpt", "--bake", "-o", tmp_path / "second.ckpt")
    assert initialised(tmp_path / "second.ckpt") == ANSWER


def test_the_collections_name_the_baked_values(shell: Any, graph: Path, weights: Path, tmp_path: Path) -> None:
    shell.run("import", weights, "--into", graph, "--bake", "-o", tmp_path / "baked.ckpt")
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(str(tmp_path / "baked.ckpt.meta"))
        (bias,) = [variable for variable in tf1.global_variables() if variable.op.name == "hidden1/bias"]
        assert session.run(bias.initial_value).tolist() == BIAS.tolist()


def test_json_rows(shell: Any, graph: Path, weights: Path, tmp_path: Path) -> None:
    rows = shell.json("import", weights, "--into", graph, "-o", tmp_path / "o.ckpt")
    assert rows[1] == {
        "layer": "hidden1",
        "target": "hidden1/bias",
        "shape": [3],
        "source": "hidden1/bias",
        "train": True,
    }


def test_a_plan_writes_nothing_and_needs_no_output(shell: Any, graph: Path, weights: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert len(shell.lines("import", weights, "--into", graph, "--plan")) == 2
    assert len(shell.json("import", weights, "--into", graph, "--plan", "-o", tmp_path / "o.ckpt")) == 2
    assert sorted(tmp_path.iterdir()) == before
    assert "-o" in shell.error("import", weights, "--into", graph)


def test_rules_on_the_command_line_and_in_a_file(shell: Any, graph: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", **{"fc1.w": KERNEL, "fc1.b": BIAS, "epoch": np.array(3)})
    (tmp_path / "rules.txt").write_text("fc(\\d)\\.b => hidden\\1/bias\nepoch =>\n")
    out = tmp_path / "imported.ckpt"
    result = shell.run(
        "import", tmp_path / "other.npz", "--into", graph, "-o", out,
        "--rename", r"fc(\d)\.w=>hidden\1/kernel", "--rules", tmp_path / "rules.txt",
    )  # fmt: skip
    assert "restored from fc1.w" in result.stdout
    assert "not weights, or excluded by a rule: epoch" in result.stderr
    assert restored(out) == ANSWER


def test_everything_goes_below_a_scope(shell: Any, graph: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "layer.npz", w=KERNEL, bias=BIAS)
    (tmp_path / "rules.toml").write_text("[[rule]]\nfrom = 'w'\nto = 'kernel'\n")
    weights, out = tmp_path / "layer.npz", tmp_path / "imported.ckpt"
    how = ["--into", graph, "--rules", tmp_path / "rules.toml", "-o", out]
    assert "w (kernel) is not a variable of graph.meta" in shell.error("import", weights, *how)
    shell.run("import", weights, *how, "--scope", "hidden1")
    assert restored(out) == ANSWER


def test_training_state_of_the_source_is_skipped_and_listed(shell: Any, graph: Path, tmp_path: Path) -> None:
    state = {"hidden1/kernel/adam_m": KERNEL, "hidden1/kernel/adam_v": KERNEL, "global_step": np.array(7)}
    np.savez(tmp_path / "bert.npz", **{"hidden1/kernel": KERNEL, "hidden1/bias": BIAS}, **state)
    out = tmp_path / "imported.ckpt"
    said = shell.run("import", tmp_path / "bert.npz", "--into", graph, "-o", out).stderr
    assert all(name in said for name in state)
    assert set(checkpoint.open(out)) == {"hidden1/kernel", "hidden1/bias"}
    assert restored(out) == ANSWER


def test_slots_and_steps_keep_the_models_values(shell: Any, trained: Path, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "imported.ckpt"
    shell.run("import", weights, "--into", trained, "-o", out)
    assert set(checkpoint.open(out)) == set(checkpoint.open(trained))
    assert restored(out) == ANSWER


def test_a_graph_with_slots_and_no_checkpoint_gets_fresh_ones(
    shell: Any, trained: Path, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "alone").mkdir()
    meta = tmp_path / "alone" / "graph.meta"
    meta.write_bytes(Path(f"{trained}.meta").read_bytes())
    out = tmp_path / "imported.ckpt"
    shell.run("import", weights, "--into", meta, "-o", out)
    assert restored(out) == ANSWER
    assert not checkpoint.open(out)["hidden1/kernel/Momentum"].read().any()


def test_lenient_keeps_the_models_values_and_says_so(shell: Any, trained: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "part.npz", **{"hidden1/kernel": KERNEL, "other": BIAS})
    out = tmp_path / "imported.ckpt"
    result = shell.run("import", tmp_path / "part.npz", "--into", trained, "--lenient", "-o", out)
    assert "skipped: part.npz: other is not a variable of model.ckpt.meta" in result.stderr
    assert f"kept from {trained}: hidden1/bias" in result.stderr
    assert f"hidden1\thidden1/bias\t[3]\trestored from {trained}:hidden1/bias\ttrained" in result.stdout
    assert checkpoint.open(out)["hidden1/kernel"].read().tolist() == KERNEL.tolist()


def test_lenient_without_a_checkpoint_starts_fresh(shell: Any, graph: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "part.npz", **{"hidden1/kernel": KERNEL})
    result = shell.run("import", tmp_path / "part.npz", "--into", graph, "--lenient", "-o", tmp_path / "o.ckpt")
    assert "fresh, by their initialisers: hidden1/bias" in result.stderr
    assert "hidden1\thidden1/bias\t[3]\tnewly initialised\ttrained" in result.stdout


def test_a_partitioned_variable_is_one_tensor(shell: Any, tmp_path: Path) -> None:
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        partitioner = tf1.fixed_size_partitioner(2)
        tf1.get_variable("w", (4, 3), partitioner=partitioner, use_resource=False)
        tf1.global_variables_initializer()
        tf1.train.Saver().export_meta_graph(str(tmp_path / "p.meta"))
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez(tmp_path / "w.npz", w=values)
    out = tmp_path / "o.ckpt"
    shell.run("import", tmp_path / "w.npz", "--into", tmp_path / "p.meta", "--bake", "-o", out)
    for start in ("restore", "init"):
        with tf1.Graph().as_default(), tf1.Session() as session:
            saver = tf1.train.import_meta_graph(f"{out}.meta")
            saver.restore(session, str(out)) if start == "restore" else session.run("init")
            parts = session.run(["w/part_0:0", "w/part_1:0"])
        assert np.concatenate(parts).tolist() == values.tolist()


def bad_shape(path: Path) -> str:
    np.savez(path, **{"hidden1/kernel": KERNEL[:, :2], "hidden1/bias": BIAS})
    return "weights.npz: hidden1/kernel is [2, 2], hidden1/kernel in graph.meta is [2, 3]"


def bad_dtype(path: Path) -> str:
    np.savez(path, **{"hidden1/kernel": KERNEL.astype(np.float64), "hidden1/bias": BIAS})
    return "weights.npz: hidden1/kernel is float64, hidden1/kernel in graph.meta is float32; --cast changes it"


def too_much(path: Path) -> str:
    np.savez(path, **{"hidden1/kernel": KERNEL, "hidden1/bias": BIAS, "hiden1/bias": BIAS})
    return "weights.npz: hiden1/bias is not a variable of graph.meta; nearest: hidden1/bias"


def too_little(path: Path) -> str:
    np.savez(path, **{"hidden1/kernel": KERNEL})
    return "weights.npz: nothing for hidden1/bias of graph.meta"


def objects(path: Path) -> str:
    np.savez(path, **{"hidden1/kernel": np.array([{}], object)}, allow_pickle=True)
    return (
        "weights.npz: nothing for hidden1/kernel of graph.meta; not read from it: hidden1/kernel (contains Python "
        "objects"
    )


def empty(path: Path) -> str:
    np.savez(path)
    return "weights.npz: nothing for hidden1/kernel of graph.meta (and 1 more)"


def gone(path: Path) -> str:
    return f"{path} is missing"


@pytest.mark.parametrize("make", [bad_shape, bad_dtype, too_much, too_little, objects, empty, gone])
def test_bad_weights_are_one_line_and_nothing_is_written(
    shell: Any, graph: Path, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    expected = make(tmp_path / "weights.npz")
    before = sorted(tmp_path.iterdir())
    line = shell.error("import", tmp_path / "weights.npz", "--into", graph, "-o", tmp_path / "o.ckpt")
    assert line.startswith(expected)
    assert sorted(tmp_path.iterdir()) == before


def test_names_that_fit_nothing_lead_to_rules_and_a_draft_of_them(shell: Any, graph: Path, tmp_path: Path) -> None:
    too_much(tmp_path / "weights.npz")
    line = shell.error("import", tmp_path / "weights.npz", "--into", graph, "-o", tmp_path / "o.ckpt")
    assert line.endswith(
        "--lenient continues without, a rule renames ('RE=>NEW') or excludes ('RE=>'), and `import` with --suggest "
        "drafts rules"
    )


def test_cast_when_asked(shell: Any, graph: Path, tmp_path: Path) -> None:
    bad_dtype(tmp_path / "weights.npz")
    shell.run("import", tmp_path / "weights.npz", "--into", graph, "--cast", "-o", tmp_path / "o.ckpt")
    assert restored(tmp_path / "o.ckpt") == ANSWER


def test_rules_that_fail(shell: Any, graph: Path, weights: Path, tmp_path: Path) -> None:
    into = ("import", weights, "--into", graph, "-o", tmp_path / "o.ckpt")
    assert "matches nothing" in shell.error(*into, "--rename", "fc=>hidden1")
    assert "is not a rule" in shell.error(*into, "--rename", "fc")
    assert "would both be named" in shell.error(*into, "--rename", "hidden1/.*=>x")


def test_an_output_that_exists(shell: Any, graph: Path, weights: Path, tmp_path: Path) -> None:
    into = ("import", weights, "--into", graph, "-o", tmp_path / "o.ckpt")
    shell.run(*into)
    assert "--overwrite" in shell.error(*into)
    shell.run(*into, "--overwrite")


def test_no_graph(shell: Any, weights: Path, tmp_path: Path) -> None:
    assert "none is missing: no such model or checkpoint" in shell.error(
        "import", weights, "--into", tmp_path / "none", "-o", tmp_path / "o.ckpt"
    )


def test_a_graph_that_would_be_too_large(
    shell: Any, graph: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckpttool.foreign.bake.MESSAGE_LIMIT", 100)
    line = shell.error("import", weights, "--into", graph, "--bake", "-o", tmp_path / "o.ckpt")
    assert "a protobuf message has at most 100" in line
    assert not list(tmp_path.glob("o.ckpt*"))


def test_keras_weights_in_a_tensorflow_1_graph(shell: Any, graph: Path, tmp_path: Path) -> None:
    tensorflow()
    import keras

    layers = [keras.Input((2,)), keras.layers.Dense(3, activation="relu", name="hidden1")]
    model = keras.Sequential(layers)
    model.layers[0].set_weights([KERNEL, BIAS])
    for name in ("k.weights.h5", "whole.h5"):
        model.save_weights(tmp_path / name) if "weights" in name else model.save(tmp_path / name)
        shell.run("import", tmp_path / name, "--into", graph, "-o", tmp_path / f"{name}.ckpt")
        assert restored(tmp_path / f"{name}.ckpt") == ANSWER


def test_a_damaged_file_of_weights(shell: Any, graph: Path, weights: Path, tmp_path: Path) -> None:
    weights.write_bytes(weights.read_bytes()[:-700])
    line = shell.error("import", weights, "--into", graph, "-o", tmp_path / "o.ckpt")
    assert line.startswith(f"{weights} is damaged: HDF5 cannot read it")
