"""`fold`: a frozen graph has the same outputs as a session with the model."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.formats.wire.protos.graph_pb2 import GraphDef
from ckpttool.graph import files
from ckpttool.model.model import Model
from ckpttool.verbs.fold import plan_fold

Kind = tuple[bool, bool]
"""Properties of a network: whether its variables are resources, whether its conditionals and loops are functional."""


def run(frozen: Path, tensor: str, feed: dict[str, Any]) -> Any:
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(frozen.read_bytes())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(definition, name="")
        known = {op.name for op in graph.get_operations()}
        return session.run(tensor, {name: value for name, value in feed.items() if name.split(":")[0] in known})


def ops(shell: Any, path: Path) -> list[str]:
    return [line.split("\t")[1] for line in shell.lines("ops", path)]


def test_the_chapters_network_is_folded(shell: Any, model: Path, computed: Any, tmp_path: Path) -> None:
    out = tmp_path / "frozen.pb"
    result = shell.run("fold", model, "--outputs", "dnn/outputs/BiasAdd", "-o", out)
    assert result.stderr.endswith(f"{out}: written and read back, 12 variables are constants\n")
    found = ops(shell, out)
    assert len(found) == 30
    assert not {"Identity", "VariableV2", "Assign", "SaveV2"} & set(found)
    x = np.random.default_rng(0).normal(size=(4, 784)).astype(np.float32)
    expected = computed(model, "dnn/outputs/BiasAdd:0", {"X:0": x})
    np.testing.assert_allclose(run(out, "dnn/outputs/BiasAdd:0", {"X:0": x}), expected, rtol=1e-4, atol=1e-5)


def test_a_frozen_graph_is_read_back_and_says_which_command_wrote_it(
    shell: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "frozen.pb"
    shell.run("fold", model, "--outputs", "dnn/outputs/BiasAdd", "-o", out)
    assert [record["command"] for record in shell.json("log", out)["records"]][-1] == "fold"
    plan_fold(Model.open(model), outputs=["dnn/outputs/BiasAdd"]).write(out, overwrite=True)
    assert [record["command"] for record in shell.json("log", out)["records"]][-1] == "fold"
    old, write = out.read_bytes(), files.write
    monkeypatch.setattr(files, "write", lambda graph, path: write(GraphDef(node=graph.node[1:]), path))
    result = shell.run("fold", model, "--outputs", "dnn/outputs/BiasAdd", "-o", out, "--overwrite", exit_code=2)
    assert result.stderr.endswith("frozen.pb: the graph reads back differently than it was written\n")
    assert out.read_bytes() == old


@pytest.mark.parametrize("kind", [(False, False), (True, False), (True, True)])
def test_batch_norm_loops_and_look_ups_are_folded_untrained(
    shell: Any,
    make_trained: Callable[..., Path],
    computed: Any,
    feed: Any,
    tmp_path: Path,
    kind: Kind,
) -> None:
    model, out = make_trained(*kind), tmp_path / "frozen.pb"
    result = shell.run("fold", model, "--outputs", "logits", "-o", out)
    assert "not fed any more, as if it never was: training\n" in result.stderr
    found = ops(shell, out)
    assert not {"VarHandleOp", "ReadVariableOp", "PlaceholderWithDefault"} & set(found)
    assert not any("drop" in line for line in shell.lines("ops", out) if "dropout" in line)
    expected = computed(model, "logits:0", feed)
    np.testing.assert_allclose(run(out, "logits:0", feed), expected, rtol=1e-5)


def test_copies_of_constants_are_folded_and_nothing_else(
    shell: Any, new_network: Any, feed: Any, tmp_path: Path
) -> None:
    with new_network().building() as net:
        tf, v1 = net.tf, net.v1
        X = v1.placeholder(tf.float32, [None, 4], name="X")
        scale = tf.reshape(tf.identity(tf.constant([[1.0, 2.0], [3.0, 4.0]])), [-1], name="scale")
        shift = tf.reshape(net.variable("shift", [2, 2], value=0.5), [1, 4], name="shifted")
        half = tf.add(tf.constant(0.25), 0.25, name="half")
        tf.identity(X * scale + shift * half, name="scores")
    model, out = net.save(tmp_path / "model.ckpt"), tmp_path / "frozen.pb"
    shell.run("fold", model, "-o", out)
    found = {line.split("\t")[0]: line.split("\t")[1] for line in shell.lines("ops", out)}
    assert found["scale"] == found["shift"] == "Const"
    assert (found["shifted"], found["half"], found["scores"]) == ("Reshape", "AddV2", "Identity")
    assert [name for name, kind in found.items() if kind == "Identity"] == ["scores", "shift/read"]
    expected = feed["X:0"] * np.arange(1, 5) + 0.25
    np.testing.assert_allclose(run(out, "scores:0", feed), expected, rtol=1e-6)


def test_a_variable_that_the_outputs_change_is_named(shell: Any, new_network: Any, tmp_path: Path) -> None:
    with new_network().building() as net:
        calls = net.variable("calls", [], value=0.0)
        X = net.v1.placeholder(net.tf.float32, [None], name="X")
        with net.tf.control_dependencies([net.v1.assign_add(calls, 1.0, name="count")]):
            net.tf.multiply(X, 2.0, name="scores")
    model = net.save(tmp_path / "model.ckpt")
    message = shell.error("fold", model, "--outputs", "scores", "-o", tmp_path / "frozen.pb")
    assert message.endswith(
        "count (AssignAddVariableOp) may change the variable calls, which therefore cannot be a constant"
    )
    assert not (tmp_path / "frozen.pb").exists()


def test_a_graph_beyond_two_gigabytes_is_refused_before_it_is_made(
    shell: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckpttool.verbs.fold.MESSAGE_LIMIT", 1_000_000)
    message = shell.error("fold", model, "-o", tmp_path / "frozen.pb")
    assert re.match(
        rf"{model}: the frozen graph would be 103\d{{4}} bytes, and a protobuf message has at most 1000000", message
    )
    assert not list(tmp_path.iterdir())


def test_a_plan_and_wrong_uses(shell: Any, model: Path, tmp_path: Path) -> None:
    plan = shell.json("fold", model, "--plan")
    assert (plan["after"]["ops"], plan["after"]["variables"]) == (30, 0)
    out = tmp_path / "frozen.pb"
    shell.run("fold", model, "-o", out)
    assert abs(out.stat().st_size - plan["after"]["graph_bytes"]) < 2000
    assert shell.error("fold", model, "-o", out) == f"{out} exists already; --overwrite replaces it"
    message = shell.error("fold", model, "--outputs", "dnn/outputs/BiasAd", "-o", out, "--overwrite")
    assert message.startswith(
        f"{model}.meta: --outputs dnn/outputs/BiasAd: no such op or tensor; nearest: dnn/outputs/BiasAdd"
    )


def test_functions_of_tensorflow_2_take_constants(shell: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    class Counter(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.table = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="table")

        @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "ids")])  # type: ignore[untyped-decorator]
        def look_up(self, ids: Any) -> Any:
            total = tf.gather(self.table, ids)
            for _ in tf.range(3):
                total = tf.cond(tf.reduce_sum(total) < 100.0, lambda: total @ self.table, lambda: total)  # noqa: B023
            return {"rows": total, "size": tf.shape(self.table)}

    module = Counter()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.look_up})
    ids = np.array([0, 1, 1], np.int32)
    expected = {key: value.numpy() for key, value in module.look_up(tf.constant(ids)).items()}
    plan = shell.json("fold", tmp_path / "saved", "--plan")
    shell.run("fold", tmp_path / "saved", "-o", tmp_path / "frozen.pb")
    for key, tensor in plan["outputs"].items():
        found = run(tmp_path / "frozen.pb", tensor, {plan["inputs"]["ids"]: ids})
        np.testing.assert_allclose(found, expected[key], rtol=1e-6)
    shell.run("export-saved-model", tmp_path / "saved", "-o", tmp_path / "again")
    call = tf.saved_model.load(str(tmp_path / "again")).signatures["serving_default"]
    np.testing.assert_array_equal(call(ids=tf.constant(ids))["rows"], expected["rows"])


def test_the_signature_says_what_is_folded_and_what_is_stripped(shell: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    spec = [tf.TensorSpec([None, 2], tf.float32, "x")]

    class Ends(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            self.low, self.high = (
                tf.Variable([[1.0, -2.0], [3.0, 4.0]], name="low"),
                tf.Variable([2.0, 3.0], name="high"),
            )

        @tf.function(input_signature=spec)  # type: ignore[untyped-decorator]
        def embed(self, x: Any) -> Any:
            return {"embedding": tf.nn.relu(x @ self.low)}

        @tf.function(input_signature=spec)  # type: ignore[untyped-decorator]
        def score(self, x: Any) -> Any:
            return {"scores": tf.nn.relu(x @ self.low) * self.high}

    module = Ends()
    tf.saved_model.save(module, str(tmp_path / "net"), signatures={"embed": module.embed, "score": module.score})
    rows = np.array([[1.0, 2.0], [-3.0, 0.5]], np.float32)

    plan = shell.json("fold", tmp_path / "net", "--signature", "embed", "--plan")
    assert list(plan["outputs"]) == ["embedding"]
    shell.run("fold", tmp_path / "net", "--signature", "embed", "-o", tmp_path / "embed.pb")
    found = run(tmp_path / "embed.pb", plan["outputs"]["embedding"], {plan["inputs"]["x"]: rows})
    np.testing.assert_array_equal(found, module.embed(rows)["embedding"])

    shell.run("strip", tmp_path / "net", "--signature", "embed", "-o", tmp_path / "stripped")
    assert (
        shell.lines("vars", tmp_path / "stripped", "--json")
        and "high" not in shell.run("vars", tmp_path / "stripped").output
    )
    call = tf.saved_model.load(str(tmp_path / "stripped")).signatures["embed"]
    np.testing.assert_array_equal(call(tf.constant(rows))["embedding"], module.embed(rows)["embedding"])

    assert "it has embed, score; nearest: embed" in shell.error(
        "fold", tmp_path / "net", "--signature", "embeds", "-o", "x"
    )
    assert (
        "signatures embed, score may have others: --signature" in shell.run("fold", tmp_path / "net", "--plan").stderr
    )


def test_a_mask_is_no_training_switch(shell: Any, new_network: Any, feed: Any, tmp_path: Path) -> None:
    with new_network().building() as net:
        tf, v1 = net.tf, net.v1
        X, mask = v1.placeholder(tf.float32, [None, 4], name="X"), v1.placeholder(tf.bool, [None, 4], name="mask")
        tf.where(mask, X * net.variable("scale", [4]), X, name="scores")
    model, out = net.save(tmp_path / "model.ckpt"), tmp_path / "frozen.pb"
    message = shell.error("fold", model, "-o", out)
    assert "the outputs need mask, fed by neither an input nor a default; specify all --inputs" in message
    shell.run("fold", model, "--inputs", "X,mask", "-o", out)
    off = {**feed, "mask:0": np.zeros((8, 4), bool)}
    np.testing.assert_array_equal(run(out, "scores:0", off), feed["X:0"])
