"""`import --suggest` and `--check`: PyTorch weights into a graph with drafted rules, and proof of equal outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckpttool import checkpoint
from ckpttool.foreign.rules import Rule
from ckpttool.verbs.import_proof import ReferenceDiffers
from ckpttool.verbs.import_weights import plan_import


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A PyTorch network 4-8-6-3, with a reference of its outputs."""
    torch.manual_seed(1)
    linear = [torch.nn.Linear(*sizes) for sizes in ((4, 8), (8, 6), (6, 3))]
    module = torch.nn.Sequential(linear[0], torch.nn.ReLU(), linear[1], torch.nn.ELU(), linear[2])
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    rows = torch.randn(5, 4)
    computed = {name: module[:end](rows).detach() for name, end in (("hidden1", 2), ("hidden2", 4), ("outputs", 5))}
    np.savez(tmp_path / "sample.npz", X=rows, **computed)
    return tmp_path / "weights.pt"


def test_a_draft_is_imported_and_the_network_computes_the_same(
    shell: Any, small: Path, weights: Path, tmp_path: Path
) -> None:
    into = ["--into", f"{small}.meta"]
    draft = shell.run("import", weights, *into, "--suggest", "-o", tmp_path / "rules.toml")
    assert draft.stdout.splitlines()[0] == "0.weight\thidden1/kernel\tdense\t0.8\tnothing else has these shapes"
    assert draft.stderr == f"{tmp_path}/rules.toml: 6 rules, 0 tensors dropped, 0 open; edit it\n"
    options = [*into, "--rules", tmp_path / "rules.toml", "--check", tmp_path / "sample.npz"]
    result = shell.run("import", weights, *options, "-o", tmp_path / "out.ckpt")
    checked = [line.split("\t") for line in result.stdout.splitlines()[-3:]]
    assert [(line[0], line[1], line[-1]) for line in checked] == [
        ("hidden1", "dnn/hidden1/Relu:0", "yes"),
        ("hidden2", "dnn/hidden2/Elu:0", "yes"),
        ("outputs", "dnn/outputs/BiasAdd:0", "yes"),
    ]
    assert "checked: 3 tensors equal the reference's" in result.stderr
    kernel = torch.load(weights)["2.weight"].numpy()
    assert np.array_equal(checkpoint.open(tmp_path / "out.ckpt")["hidden2/kernel"].read(), kernel.T)


def test_the_first_layer_that_goes_wrong_is_named(shell: Any, small: Path, weights: Path, tmp_path: Path) -> None:
    shell.run("import", weights, "--into", small, "--suggest", "-o", tmp_path / "rules.toml")
    state = torch.load(weights)
    state["2.bias"] += 1
    torch.save(state, weights)
    options = ["--into", small, "--rules", tmp_path / "rules.toml", "--check", tmp_path / "sample.npz"]
    result = shell.run("import", weights, *options, "-o", tmp_path / "out.ckpt", exit_code=1)
    assert [line.split("\t")[-1] for line in result.stdout.splitlines()[-3:]] == ["yes", "no", "no"]
    (verdict,) = [line for line in result.stderr.splitlines() if line.startswith("wrong")]
    assert verdict.startswith("wrong from hidden2 on (dnn/hidden2/Elu:0): ")
    assert "expected at most 1.0e-04" in verdict
    shell.run("import", weights, *options, "--tolerance", "10", "-o", tmp_path / "other.ckpt")


FAMILIES = {"out.ckpt": [], "out": ["--to", "saved-model"]}


@pytest.mark.parametrize("output", FAMILIES)
def test_what_computes_something_else_is_not_written(
    output: str, shell: Any, small: Path, weights: Path, tmp_path: Path
) -> None:
    """Nor does it replace anything: neither the model, nor the files next to it."""
    shell.run("import", weights, "--into", small, "--suggest", "-o", tmp_path / "rules.toml")
    (tmp_path / "outputs").mkdir()
    options = ["--into", small, "--rules", tmp_path / "rules.toml", *FAMILIES[output], "-o"]
    command = ["import", weights, "--check", tmp_path / "sample.npz", *options, tmp_path / "outputs" / output]
    torch.save({**torch.load(weights), "2.bias": torch.ones(6)}, weights)
    assert shell.run(*command, exit_code=1).stderr.endswith(f"{tmp_path}/outputs/{output}: nothing is written\n")
    assert not [*(tmp_path / "outputs").iterdir()]

    shell.run("import", weights, *options, tmp_path / "outputs" / output)  # which is not checked
    old = {path: path.read_bytes() for path in (tmp_path / "outputs").rglob("*") if path.is_file()}
    torch.save({**torch.load(weights), "2.bias": torch.zeros(6)}, weights)
    said = shell.run(*command, "--overwrite", exit_code=1).stderr
    assert said.endswith(f"{tmp_path}/outputs/{output}: nothing is written or replaced\n")
    assert {path: path.read_bytes() for path in (tmp_path / "outputs").rglob("*") if path.is_file()} == old


def test_from_python_the_proof_raises(small: Path, weights: Path, tmp_path: Path) -> None:
    names = {"0": "hidden1", "2": "hidden2", "4": "outputs"}
    rules = [Rule(f"{old}[.]weight", f"{new}/kernel", transform="dense") for old, new in names.items()]
    rules += [Rule(f"{old}[.]bias", f"{new}/bias") for old, new in names.items()]
    torch.save({**torch.load(weights), "2.bias": torch.ones(6)}, weights)
    planned = plan_import(weights, small, rules=rules, reference=tmp_path / "sample.npz")
    with pytest.raises(ReferenceDiffers, match=r"^wrong from hidden2 on \(dnn/hidden2/Elu:0\): "):
        planned.write(tmp_path / "out.ckpt")
    assert not [*tmp_path.glob("*out.ckpt*")]


def test_a_draft_with_something_open_is_written_and_the_answer_is_no(
    shell: Any, small: Path, weights: Path, tmp_path: Path
) -> None:
    state = torch.load(weights)
    torch.save({**state, "extra.weight": torch.ones(9, 9)}, weights)
    result = shell.run("import", weights, "--into", small, "--suggest", "-o", tmp_path / "rules.toml", exit_code=1)
    assert "open: extra.weight [9, 9]: no variable fits" in result.stderr
    assert "# open: extra.weight [9, 9]: no variable fits" in (tmp_path / "rules.toml").read_text()


def test_without_a_sample_nothing_is_checked_and_that_is_said(
    shell: Any, small: Path, weights: Path, tmp_path: Path
) -> None:
    shell.run("import", weights, "--into", small, "--suggest", "-o", tmp_path / "rules.toml")
    options = ["--into", small, "--rules", tmp_path / "rules.toml", "-o", tmp_path / "out.ckpt"]
    assert "nothing was checked numerically" in shell.run("import", weights, *options).stderr


def test_a_draft_has_a_name_of_toml_and_does_not_replace(
    shell: Any, small: Path, weights: Path, tmp_path: Path
) -> None:
    options = ["import", weights, "--into", small, "--suggest", "-o"]
    assert shell.error(*options, tmp_path / "rules") == (
        f"{tmp_path}/rules: a draft of rules is TOML, expected a name that ends in .toml"
    )
    (tmp_path / "rules.toml").write_text("mine")
    assert "exists already" in shell.error(*options, tmp_path / "rules.toml")
    assert (tmp_path / "rules.toml").read_text() == "mine"


def test_a_dense_layer_behind_a_flattened_image(shell: Any, tmp_path: Path) -> None:
    """PyTorch's rows are ordered by channel, TensorFlow's by position."""
    torch.manual_seed(2)
    parts = [torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()]
    module = torch.nn.Sequential(*parts, torch.nn.Linear(27, 5))
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    rows = torch.randn(4, 2, 6, 6)
    seen = {"conv1": module[:2](rows), "outputs": module(rows)}
    reference = {name: array.detach() for name, array in seen.items()}
    np.savez(tmp_path / "sample.npz", X=rows.permute(0, 2, 3, 1), **reference)
    layers = "conv1 = conv2d(3, 3, relu); pool1 = max_pool(2); flat = flatten(); outputs = dense(5)"
    shell.run("new", "--input", "6,6,2", "--layers", layers, "-o", tmp_path / "graph.ckpt")
    into = ["import", tmp_path / "weights.pt", "--into", tmp_path / "graph.ckpt.meta"]
    draft = shell.run(*into, "--suggest", "-o", tmp_path / "rules.toml")
    assert [line.split("\t")[:3] for line in draft.stdout.splitlines()] == [
        ["0.weight", "conv1/kernel", "conv"],
        ["0.bias", "conv1/bias", "keep"],
        ["4.weight", "outputs/kernel", "flatten(channels=3)"],
        ["4.bias", "outputs/bias", "keep"],
    ]
    options = ["--rules", tmp_path / "rules.toml", "--check", tmp_path / "sample.npz", "-o", tmp_path / "out.ckpt"]
    assert "checked: 2 tensors equal" in shell.run(*into, *options).stderr


WRONG_SAMPLES = {
    "nope is not a placeholder, layer or op": {"nope": np.ones(5)},
    "outputs is [0, 3]: nothing to compare": {"outputs": np.ones((0, 3))},
    "outputs is text, expected numbers": {"outputs": np.full((5, 3), "a")},
    "outputs is bool, dnn/outputs/BiasAdd:0 is float32": {"outputs": np.ones((5, 3), bool)},
    "outputs is [5, 4], dnn/outputs/BiasAdd:0 is [any, 3]": {"outputs": np.ones((5, 4))},
    "hidden1 is [5, 8, 1], dnn/hidden1/Relu:0 is [any, 8]": {"hidden1": np.ones((5, 8, 1))},
    "X is float32 [5, 3], X:0 takes float32 [any, 4]": {"X": np.ones((5, 3), np.float32), "outputs": np.ones((5, 3))},
    "X is float32 [4], X:0 takes float32 [any, 4]": {"X": np.ones(4, np.float32), "outputs": np.ones((5, 3))},
    "X is float64 [5, 4], X:0 takes float32 [any, 4]": {"X": np.ones((5, 4)), "outputs": np.ones((5, 3))},
    "expected rows under a placeholder's name": {},
}


@pytest.mark.parametrize("problem", WRONG_SAMPLES)
def test_a_sample_that_cannot_prove_anything_is_refused_before_a_model_is_written(
    problem: str, shell: Any, small: Path, weights: Path, tmp_path: Path
) -> None:
    shell.run("import", weights, "--into", small, "--suggest", "-o", tmp_path / "rules.toml")
    np.savez(tmp_path / "wrong.npz", **{"X": np.ones((5, 4), np.float32), **WRONG_SAMPLES[problem]})
    options = ["--into", small, "--rules", tmp_path / "rules.toml", "--check", tmp_path / "wrong.npz"]
    assert problem in shell.run("import", weights, *options, "-o", tmp_path / "out.ckpt", exit_code=2).stderr
    assert not [*tmp_path.glob("out.ckpt*")]


def test_rows_for_a_placeholder_that_nothing_compared_needs_do_not_matter(
    shell: Any, small: Path, weights: Path, tmp_path: Path
) -> None:
    shell.run("import", weights, "--into", small, "--suggest", "-o", tmp_path / "rules.toml")
    np.savez(tmp_path / "more.npz", **np.load(tmp_path / "sample.npz"), y=np.ones((5, 2), np.int64))
    options = ["--into", small, "--rules", tmp_path / "rules.toml", "--check", tmp_path / "more.npz"]
    assert "checked: 3 tensors equal" in shell.run("import", weights, *options, "-o", tmp_path / "out.ckpt").stderr


def test_a_sample_that_is_not_there_is_told_before_a_model_is_written(
    shell: Any, small: Path, weights: Path, tmp_path: Path
) -> None:
    shell.run("import", weights, "--into", small, "--suggest", "-o", tmp_path / "rules.toml")
    options = ["--into", small, "--rules", tmp_path / "rules.toml", "--check", tmp_path / "no.npz"]
    assert (
        "no.npz is missing" in shell.run("import", weights, *options, "-o", tmp_path / "out.ckpt", exit_code=2).stderr
    )
    assert not [*tmp_path.glob("out.ckpt*")]


def test_rules_that_only_the_order_tells_are_counted(shell: Any, new_network: Any, tmp_path: Path) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        for name in ("a", "b"):
            X = net.dense(X, 4, name)
        net.classify(net.dense(X, 3, "outputs", relu=False), y)
        net.v1.train.export_meta_graph(str(tmp_path / "square.meta"))
    linear = [torch.nn.Linear(*sizes) for sizes in ((4, 4), (4, 4), (4, 3))]
    torch.save(torch.nn.Sequential(*linear).state_dict(), tmp_path / "square.pt")
    options = ["--into", tmp_path / "square.meta", "--suggest", "-o", tmp_path / "rules.toml"]
    result = shell.run("import", tmp_path / "square.pt", *options)
    assert "only the order decides 2 of the rules, which may be wrong" in result.stderr


@pytest.mark.parametrize("option", [["--scope", "a"], ["--rename", "a=>b"], ["--check", __file__]])
def test_a_draft_takes_no_rules(shell: Any, small: Path, weights: Path, tmp_path: Path, option: list[str]) -> None:
    options = ["--into", small, "--suggest", *option, "-o", tmp_path / "rules.toml"]
    assert (
        "not with --rules, --rename, --scope or --check" in shell.run("import", weights, *options, exit_code=2).stderr
    )
    assert not (tmp_path / "rules.toml").exists()


@pytest.mark.parametrize("check", [True, False])
def test_tensorflow_is_configured_for_the_graph_that_a_check_runs(
    shell: Any, small: Path, weights: Path, tmp_path: Path, check: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured: list[str] = []
    monkeypatch.setattr("ckpttool.cli.commands.import_.configure_for", lambda graph: configured.append(graph.source))
    shell.run("import", weights, "--into", f"{small}.meta", "--suggest", "-o", tmp_path / "rules.toml")
    options = ["--rules", tmp_path / "rules.toml", *(["--check", tmp_path / "sample.npz"] if check else [])]
    shell.run("import", weights, "--into", f"{small}.meta", *options, "-o", tmp_path / "out.ckpt")
    assert configured == ([f"{small}.meta"] if check else [])
