"""`reuse`: restored layers are the source's, the rest is new, and the output runs in plain TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint

HEAD = ["--head", "new = dense(3)"]


def values(path: Path) -> dict[str, Any]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


def test_the_chapters_reuse(shell: Any, model: Path, tmp_path: Path, new_session: Any) -> None:
    out = tmp_path / "new.ckpt"
    arguments = ["reuse", model, "--layers", "hidden[123]"]
    result = shell.run(*arguments, "--head", "hidden4 = dense(20, relu); outputs = dense(10)", "-o", out)
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [(row[1], row[2], row[3]) for row in rows[4:]] == [
        ("hidden3/kernel", "[50, 50]", "restored from hidden3/kernel"),
        ("hidden3/bias", "[50]", "restored from hidden3/bias"),
        ("hidden4/kernel", "[50, 20]", "newly initialised"),
        ("hidden4/bias", "[20]", "newly initialised"),
        ("outputs/kernel", "[20, 10]", "newly initialised"),
        ("outputs/bias", "[10]", "newly initialised"),
    ]
    assert result.stderr.splitlines() == [
        "removed with the old loss, training op and slots: hidden4, hidden5, outputs",
        f"{out}: written and read back, 6 tensors restored",
    ]
    session, x = new_session(out, out), np.ones((2, 784), np.float32)
    old = new_session(model, model)
    hidden3 = shell.json("layers", model)[2]["output"]
    np.testing.assert_array_equal(session.run(hidden3, {"X:0": x}), old.run(hidden3, {"X:0": x}))


def test_the_rest_of_the_old_graph_its_slots_and_steps_stay_behind(
    shell: Any, new_network: Any, tmp_path: Path, new_session: Any
) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        net.v1.train.get_or_create_global_step()
        logits = net.dense(net.dense(X, 5, "hidden1"), 3, "outputs", relu=False)
        net.classify(logits, y, net.v1.train.AdamOptimizer(0.1))
    source, out = net.save(tmp_path / "adam.ckpt"), tmp_path / "out.ckpt"
    assert {"global_step", "hidden1/kernel/Adam_1", "beta1_power"} <= set(checkpoint.open(source))
    shell.run("reuse", source, "--layers", "hidden1", *HEAD, "-o", out)
    weights = {"hidden1/kernel", "hidden1/bias", "new/kernel", "new/bias"}
    assert set(checkpoint.open(out)) == {*weights, "global_step"}  # the new training op's own, which starts at 0
    assert checkpoint.open(out)["global_step"].read() == 0
    ops = {row["name"] for row in shell.json("ops", out)}
    assert not any(name.startswith(("outputs", "Adam", "beta1_power")) for name in ops)
    session = new_session(out, out)
    session.run("GradientDescent", {"X:0": np.ones((2, 4), np.float32), "y:0": [0, 1]})


def test_neither_head_nor_target_keeps_the_graph(shell: Any, small: Path, tmp_path: Path, new_session: Any) -> None:
    out = tmp_path / "out.ckpt"
    shell.run("reuse", small, "--layers", "hidden[12]", "--seed", "7", "-o", out)
    old, new = values(small), values(out)
    same = {name for name in old if np.array_equal(old[name], new[name])}
    assert same == set(old) - {"outputs/kernel"}  # a new bias is zero too
    assert new_session(out, out).run("dnn/outputs/BiasAdd:0", {"X:0": np.ones((1, 4), np.float32)}).shape == (1, 3)


def test_into_another_graph(shell: Any, small: Path, tmp_path: Path) -> None:
    target, out = tmp_path / "target.ckpt", tmp_path / "out.ckpt"
    spec = "hidden1 = dense(8, relu); hidden2 = dense(6, elu); hidden3 = dense(4, relu); outputs = dense(2)"
    shell.run("new", "--input", "4", "--layers", spec, "-o", target)
    rows = shell.json("reuse", small, "--layers", "hidden[12]", "--into", f"{target}.meta", "-o", out)
    assert [row["target"] for row in rows if row["source"] is None] == [
        *("hidden3/kernel", "hidden3/bias", "outputs/kernel", "outputs/bias")
    ]
    assert {row["source"] for row in rows if row["source"]} == {
        *("hidden1/kernel", "hidden1/bias", "hidden2/kernel", "hidden2/bias")
    }
    np.testing.assert_array_equal(values(out)["hidden2/kernel"], values(small)["hidden2/kernel"])


@pytest.fixture
def other(shell: Any, tmp_path: Path) -> Path:
    """A graph whose hidden2 has another shape than the small network's, and whose outputs have another name."""
    spec = "hidden1 = dense(8, relu); hidden2 = dense(7); output = dense(3)"
    shell.run("new", "--input", "4", "--layers", spec, "-o", tmp_path / "other.ckpt")
    return tmp_path / "other.ckpt"


def test_what_does_not_fit_the_target_is_an_error(shell: Any, small: Path, other: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ckpt"
    arguments = ["reuse", small, "--into", f"{other}.meta", "-o", out]
    assert shell.error(*arguments, "--layers", "hidden[12]") == (
        f"hidden2/kernel is [8, 6] in {small}, [8, 7] in {other}.meta; --lenient newly initialises such variables"
    )
    assert shell.error(*arguments, "--layers", "hidden1|outputs") == (
        f"{other}.meta has no variable outputs/kernel; nearest: output/kernel, output, output/bias;"
        " --lenient newly initialises such variables"
    )
    assert shell.error(*arguments, "--layers", "outputs", "--lenient").startswith("nothing to restore: ")
    assert not list(tmp_path.glob("out*"))


def test_lenient_lists_what_it_leaves_out(shell: Any, small: Path, other: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ckpt"
    arguments = ("reuse", small, "--into", other, "--layers", ".*", "--lenient", "-o", out)
    first = f"skipped: hidden2/kernel is [8, 6] in {small}, [8, 7] in {other}.meta and 3 more (-v names all 4)"
    assert shell.run(*arguments).stderr.splitlines() == [first, f"{out}: written and read back, 2 tensors restored"]
    result = shell.run(*arguments, "-v", "--overwrite")
    assert result.stderr.splitlines() == [
        f"skipped: hidden2/kernel is [8, 6] in {small}, [8, 7] in {other}.meta",
        f"skipped: hidden2/bias is [6] in {small}, [7] in {other}.meta",
        f"skipped: {other}.meta has no variable outputs/kernel; nearest: output/kernel, output, output/bias",
        f"skipped: {other}.meta has no variable outputs/bias; nearest: output/bias, output, output/kernel",
        f"{out}: written and read back, 2 tensors restored",
    ]


@pytest.mark.parametrize("share", ["82%", "82", "95%"])
def test_too_little_restored_is_refused_where_a_share_is_required(
    shell: Any, small: Path, tmp_path: Path, share: str
) -> None:
    arguments = ["reuse", small, "--layers", "hidden[12]", *HEAD, "-o", tmp_path / "out.ckpt", "--require"]
    wanted = share.removesuffix("%")
    message = f"81.7% of the parameters are restored, {wanted}% required; newly initialised: new/kernel, new/bias"
    assert shell.error(*arguments, share) == message
    assert not list(tmp_path.iterdir())
    shell.run(*arguments, "81%")


def test_a_fresh_network_has_the_old_ones_layers_and_none_of_their_values(
    shell: Any, small: Path, tmp_path: Path
) -> None:
    head = ("--head", "new = dense(3)")
    shell.run("reuse", small, "--fresh", "--after", "hidden2", *head, "-o", tmp_path / "fresh.ckpt")
    old, new = checkpoint.open(small), checkpoint.open(tmp_path / "fresh.ckpt")
    assert new["hidden1/kernel"].shape == old["hidden1/kernel"].shape
    assert not np.array_equal(new["hidden1/kernel"].read(), old["hidden1/kernel"].read())
    said = "specify the --layers to restore, or --fresh"
    assert said in shell.error("reuse", small, *head, "-o", tmp_path / "none.ckpt")
    assert said in shell.error("reuse", small, "--fresh", "--layers", "hidden1", *head, "-o", tmp_path / "none.ckpt")
    said = "--fresh restores no layer: specify --head, and --after"
    assert said in shell.error("reuse", small, "--fresh", *head, "-o", tmp_path / "none.ckpt")


def test_after_puts_the_head_where_it_is_said(shell: Any, small: Path, tmp_path: Path) -> None:
    result = shell.run("reuse", small, "--layers", "hidden[12]", "--after", "hidden1", *HEAD, "-o", tmp_path / "out")
    assert "removed, because they lie above hidden1, although selected: hidden2/kernel, hidden2/bias" in result.stderr
    assert checkpoint.open(tmp_path / "out")["new/kernel"].shape == (8, 3)
    rows = shell.json("reuse", small, "--layers", "hidden1", "--after", "hidden2", *HEAD, "--plan")
    assert [(row["layer"], row["source"] is not None) for row in rows[::2]] == [
        *(("hidden1", True), ("hidden2", False), ("new", False))
    ]


def test_frozen_layers_are_left_out_of_the_training_op(
    shell: Any, small: Path, tmp_path: Path, new_session: Any
) -> None:
    out = tmp_path / "out.ckpt"
    rows = shell.json("reuse", small, "--layers", "hidden[12]", *HEAD, "--freeze", "hidden1", "-o", out)
    assert [row["target"] for row in rows if not row["train"]] == ["hidden1/kernel", "hidden1/bias"]
    session = new_session(out, out)
    before = session.weights()
    session.run("GradientDescent", {"X:0": np.ones((2, 4), np.float32), "y:0": [0, 1]})
    after = session.weights()
    still = {name for name in before if np.array_equal(before[name], after[name])}
    assert {"hidden1/kernel", "hidden1/bias"} <= still
    assert not {"new/bias", "hidden2/bias"} & still


def test_the_prefix_warning_names_what_tensorflow_would_have_taken(
    shell: Any, new_network: Any, tmp_path: Path
) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        hidden = net.dense(net.dense(X, 5, "hidden1"), 5, "hidden10")
        net.classify(net.dense(hidden, 3, "outputs", relu=False), y)
    source = net.save(tmp_path / "ten.ckpt")
    result = shell.run("reuse", source, "--layers", "hidden1", "--plan")
    assert result.stderr == "TensorFlow's prefix match would also take: hidden10/bias, hidden10/kernel\n"
    fresh = [row["target"] for row in shell.json("reuse", source, "--layers", "hidden1", "--plan") if not row["source"]]
    assert fresh == ["hidden10/kernel", "hidden10/bias", "outputs/kernel", "outputs/bias"]


def test_a_plan_writes_nothing_and_needs_no_output(shell: Any, small: Path, tmp_path: Path) -> None:
    arguments = ["reuse", small, "--layers", "hidden1", *HEAD]
    planned = shell.json(*arguments, "--plan")
    assert planned[0] == {
        "layer": "hidden1",
        "target": "hidden1/kernel",
        "shape": [4, 8],
        "source": "hidden1/kernel",
        "train": True,
    }
    assert not list(tmp_path.iterdir())
    assert shell.json(*arguments, "-o", tmp_path / "out") == planned
    assert shell.error(*arguments) == "Missing option '-o' / '--output' (see main reuse --help)"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--layers", "hiden1"], "pattern 'hiden1' matches nothing; nearest: hidden1, hidden2, hidden1/bias"),
        (["--layers", "hidden["], "'hidden[' is not a regular expression: unterminated character set at position 6"),
        (["--layers", "zzz"], "pattern 'zzz' matches nothing"),
        (["--after", "hiden9"], "{small}.meta: no layer hiden9; nearest: hidden2, hidden1"),
        (["--freeze", "outputs"], "pattern 'outputs' matches nothing"),
        (["--freeze", ".*"], "nothing to train: loss/loss:0 has no gradient for any variable that is not frozen"),
        (["--layers", "hidden2", "--after", "hidden1"],
         "{small}: nothing to restore: hidden2/kernel, hidden2/bias lie above hidden1, where the head is added"),
        (["--head", "hidden2 = dense(3)"],
         "{small}.meta: the head names a layer hidden2, which is below the cut; name it otherwise"),
        (["--head", "new = dense(0)"],
         "--head, line 1, column 13, at '0': dense: units must be a whole number from 1 to 2147483647, found 0"),
        (["--into", "{small}.meta"],
         "--head and --into exclude each other: new layers go on SRC's graph, or TARGET has its own"),
        (["--require", "lots"],
         "Invalid value for '--require': 'lots' is not a share such as 95% (see main reuse --help)"),
    ],
)  # fmt: skip
def test_what_cannot_be_reused_is_refused(
    shell: Any, small: Path, tmp_path: Path, changed: list[str], message: str
) -> None:
    arguments = ["reuse", small, "--layers", "hidden[12]", *HEAD, "-o", tmp_path / "out"]
    said = [option.format(small=small) for option in changed]
    assert shell.error(*arguments, *said) == message.format(small=small)
    assert not list(tmp_path.iterdir())


def test_freezing_everything_is_refused_without_a_head_too(shell: Any, small: Path, tmp_path: Path) -> None:
    message = shell.error("reuse", small, "--layers", "hidden1", "--freeze", ".*", "-o", tmp_path / "out")
    assert message == f"{small}: no layer is left to train: --freeze '.*' takes all 6 weights"
    assert shell.error("reuse", small, "--layers", "hidden1", "--after", "hidden1", "-o", tmp_path / "out") == (
        "--after specifies where the head is added: specify --head too"
    )


def test_the_source_may_be_overwritten_and_its_values_live_on(shell: Any, small: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.ckpt"
    shell.run("reuse", small, "--layers", ".*", "-o", own)
    old = values(own)
    assert shell.error("reuse", own, "--layers", "hidden1", *HEAD, "-o", own).endswith("--overwrite replaces it")
    assert values(own).keys() == old.keys()
    shell.run("reuse", own, "--layers", "hidden[12]", *HEAD, "-o", own, "--overwrite")
    new = values(own)
    for name in ("hidden1/kernel", "hidden1/bias", "hidden2/kernel", "hidden2/bias"):
        np.testing.assert_array_equal(new[name], old[name])
    assert {"new/kernel", "new/bias"} == new.keys() - old.keys()
    shell.run("verify", own)


def test_a_model_without_a_loss_gets_one_with_a_head(shell: Any, new_network: Any, data: Path, tmp_path: Path) -> None:
    with new_network().building() as net:
        net.dense(net.dense(net.inputs()[0], 5, "hidden1"), 3, "outputs", relu=False)
    source = net.save(tmp_path / "bare.ckpt")
    ways = "specify --loss, or an --objective, which adds a loss on the outputs, or add a new head with `reuse`"
    message = f"{source}.meta: no loss is known; {ways}"
    assert shell.error("evaluate", source, "--data", data) == message
    assert shell.error("finetune", source, "--data", data, "-o", tmp_path / "out") == message
    assert shell.error("cache", source, "--freeze", "hidden1", "--data", data, "--cache-dir", tmp_path) == message
    shell.run("reuse", source, "--layers", "hidden1", *HEAD, "-o", tmp_path / "headed.ckpt")
    assert shell.json("evaluate", tmp_path / "headed.ckpt", "--data", data)["rows"] == 60
