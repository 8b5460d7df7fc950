"""`strip`: the rest computes the same, restores and saves; what only training needs is removed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.graph.files import load

Kind = tuple[bool, bool]
"""Properties of a network: whether its variables are resources, whether its conditionals and loops are functional."""


def test_the_chapters_network_is_stripped(shell: Any, model: Path, computed: Any, tmp_path: Path) -> None:
    out = tmp_path / "small.ckpt"
    result = shell.run("strip", model, "-o", out)
    assert "inputs: X=X:0\noutputs: logits=dnn/outputs/BiasAdd:0, the logits\n" in result.stderr
    before, after = len(load(model).nodes), len(load(out).nodes)
    assert result.stdout.splitlines()[0] == f"ops\t{before}\t{after}"
    assert not [name for name in load(out).nodes if "gradients" in name or "loss" in name]
    x = np.random.default_rng(0).normal(size=(4, 784)).astype(np.float32)
    tensor = "dnn/outputs/BiasAdd:0"
    assert computed(out, tensor, {"X:0": x}).tobytes() == computed(model, tensor, {"X:0": x}).tobytes()
    shell.run("verify", out, "--unchanged", ".*", model)


@pytest.mark.parametrize("kind", [(False, False), (True, False), (True, True)])
def test_slots_go_and_the_fresh_saver_restores_and_saves(
    shell: Any,
    make_trained: Callable[..., Path],
    new_session: Any,
    computed: Any,
    feed: Any,
    tmp_path: Path,
    kind: Kind,
) -> None:
    model, out = make_trained(*kind), tmp_path / "small.ckpt"
    notes = shell.run("strip", model, "-o", out).stderr.splitlines()
    names = set(checkpoint.open(out))
    (left_out,) = (note for note in notes if note.startswith("removed from the checkpoint: "))
    assert "beta1_power" in left_out
    assert names == {name for name in checkpoint.open(model) if "Adam" not in name and "power" not in name}
    assert computed(out, "logits:0", feed).tobytes() == computed(model, "logits:0", feed).tobytes()
    session = new_session(out, out)
    again = session.save(tmp_path / "again.ckpt")
    shell.run("diff", again, out)
    assert set(checkpoint.open(again)) == names


def test_a_layer_becomes_the_input(shell: Any, model: Path, new_session: Any, tmp_path: Path) -> None:
    out = tmp_path / "top.ckpt"
    arguments = ["--inputs", "dnn/hidden2/Relu", "--outputs", "dnn/outputs/BiasAdd"]
    shell.run("strip", model, *arguments, "-o", out)
    assert {name.partition("/")[0] for name in checkpoint.open(out)} == {"hidden3", "hidden4", "hidden5", "outputs"}
    x = np.random.default_rng(0).normal(size=(4, 784)).astype(np.float32)
    old, top = new_session(model, model), new_session(out, out)
    features, expected = old.run(["dnn/hidden2/Relu:0", "dnn/outputs/BiasAdd:0"], {"X:0": x})
    found = top.run("dnn/outputs/BiasAdd:0", {"dnn/hidden2/Relu:0": features})
    assert found.tobytes() == expected.tobytes()
    assert top.graph.get_tensor_by_name("dnn/hidden2/Relu:0").shape.as_list() == [None, 50]


def test_a_stripped_model_is_understood_by_other_commands(shell: Any, model: Path, tmp_path: Path) -> None:
    shell.run("strip", model, "-o", tmp_path / "small.ckpt")
    shell.run("strip", model, "--outputs", "dnn/hidden3/Relu", "-o", tmp_path / "features.ckpt")
    for name, outputs in {
        "small": {"logits": "dnn/outputs/BiasAdd:0"},
        "features": {"Relu": "dnn/hidden3/Relu:0"},
    }.items():
        plan = shell.json("export-saved-model", tmp_path / f"{name}.ckpt", "--plan")
        assert (plan["inputs"], plan["outputs"]) == ({"X": "X:0"}, outputs)
    head = ["--layers", "hidden[12]", "--head", "outputs = dense(3)"]
    shell.run("reuse", tmp_path / "small.ckpt", *head, "-o", tmp_path / "new.ckpt")


def test_rows_of_an_iterator_are_fed_instead(shell: Any, new_network: Any, new_session: Any, tmp_path: Path) -> None:
    rows, labels = np.ones((4, 3), np.float32), np.zeros(4, np.int64)
    with new_network().building() as net:
        tf, v1 = net.tf, net.v1
        X, y = v1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors((rows, labels))).get_next()
        net.classify(net.dense(X, 3, "out", relu=False), y, v1.train.GradientDescentOptimizer(0.1))
    model, out = net.save(tmp_path / "model.ckpt"), tmp_path / "small.ckpt"
    exported = shell.run("export-saved-model", model, "-o", tmp_path / "exported")
    assert "rows are fed in place of IteratorGetNext: IteratorGetNext:0 [?,3] float32" in exported.stderr
    sides = ["--inputs", "IteratorGetNext:0,IteratorGetNext:1", "--outputs", "loss/loss"]
    result = shell.run("strip", model, *sides, "-o", out)
    assert "IteratorGetNext=IteratorGetNext:0, IteratorGetNext_1=IteratorGetNext_1:0\n" in result.stderr
    feed = {"IteratorGetNext:0": rows, "IteratorGetNext_1:0": labels}
    assert new_session(out, out).run("loss/loss:0", feed) == new_session(model, model).run("loss/loss:0")


def test_an_existing_output_and_what_could_be_meant(shell: Any, model: Path, new_network: Any, tmp_path: Path) -> None:
    shell.run("strip", model, "-o", tmp_path / "small.ckpt")
    message = shell.error("strip", model, "-o", tmp_path / "small.ckpt")
    assert message == f"{tmp_path}/small.ckpt.meta exists already; --overwrite replaces it"
    with new_network().building() as net:
        X, _, _ = net.inputs()
        for name in ("left", "right"):
            net.dense(X, 2, name)
    message = shell.error("strip", net.save(tmp_path / "two.ckpt"), "-o", tmp_path / "out.ckpt")
    assert message.endswith("several tensors match: left/Relu:0, right/Relu:0; specify --outputs")


def test_the_folder_of_a_run_means_its_latest_model(shell: Any, copied: Path) -> None:
    (copied.parent / "checkpoint").write_text(f'model_checkpoint_path: "{copied.name}"')
    assert shell.json("strip", copied.parent, "--plan") == shell.json("strip", copied, "--plan")
    assert shell.lines("ops", copied.parent) == shell.lines("ops", copied)
