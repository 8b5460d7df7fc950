"""From arrays to predictions: models and data are accepted in any form, and functions continue with others' outputs."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool
from ckpttool.core.errors import ExistingOutput, PlanError, UnknownName, WrongKind
from ckpttool.training.options import Options

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 6)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64)
LAYERS = "hidden1 = dense(8, relu); hidden2 = dense(8, relu); outputs = dense(2)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with a new model and a tuned one, as the current directory, with its own cache."""
    folder = tmp_path_factory.mktemp("flow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        fresh = ckpttool.new(6, LAYERS, "fresh.ckpt", lr=0.1)
        ckpttool.finetune(fresh, (X, Y), "tuned.ckpt", optimizer="adam(0.01)", epochs=6, verbose=0)
        yield folder


@pytest.mark.usefixtures("folder")
def test_six_lines() -> None:
    new = ckpttool.reuse("tuned.ckpt", "hidden[12]", "outputs = dense(3)", "three.ckpt", overwrite=True)
    run = ckpttool.finetune(new, (X, Y + (X[:, 2] > 1)), "three_tuned.ckpt", freeze="hidden1", lr=0.1, overwrite=True)
    found = ckpttool.predict(run, X)
    assert os.fspath(new) == "three.ckpt"
    assert run.unchanged == ("hidden1/kernel", "hidden1/bias")
    assert found["classes"].shape == (400,)
    np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1, rtol=1e-5)
    assert sorted(found) == ["classes", "logits", "probabilities", "rows"]


@pytest.mark.usefixtures("folder")
def test_rows_in_memory_are_judged_as_those_of_a_file() -> None:
    np.savez("rows.npz", x_test=X, y_test=Y)
    scores = [ckpttool.evaluate("tuned.ckpt", data) for data in ("rows.npz", {"x_test": X, "y_test": Y})]
    assert scores[0].as_json() == scores[1].as_json()
    assert scores[0].accuracy is not None
    assert scores[0].accuracy > 0.8


@pytest.mark.usefixtures("folder")
def test_the_rows_that_a_run_held_out_are_known_again() -> None:
    score = ckpttool.evaluate("tuned.ckpt", (X, Y))
    assert score.rows == 40
    assert "arrays in memory: x [400, 6] float32, y [400] int64" in Path("tuned.ckpt.run.json").read_text()


@pytest.mark.usefixtures("folder")
def test_predictions_in_memory_and_in_a_file_are_the_same() -> None:
    written = ckpttool.predict("tuned.ckpt", X, "predictions.npz", overwrite=True)
    found = ckpttool.predict(ckpttool.Model.open("tuned.ckpt"), X)
    with np.load("predictions.npz") as file:
        assert sorted(file) == sorted(found) == sorted(written.arrays)
        for name in file:
            np.testing.assert_array_equal(file[name], found[name])
    with pytest.raises(UnknownName, match="no class is predicted; nearest: classes"):
        found["class"]


@pytest.mark.usefixtures("folder")
def test_options_as_one_value_go_as_before() -> None:
    options = Options(epochs=1, freeze="hidden1")
    first = ckpttool.finetune("fresh.ckpt", (X, Y), options, "before.ckpt", overwrite=True)  # type: ignore[arg-type]
    again = ckpttool.finetune("fresh.ckpt", (X, Y), "now.ckpt", options=options, overwrite=True)
    assert first.output == Path("before.ckpt")
    assert ckpttool.diff(first, again).equal


@pytest.mark.usefixtures("folder")
def test_other_functions_with_rows_in_memory() -> None:
    data = (X, Y)
    assert ckpttool.cache("tuned.ckpt", data, "hidden1", root="features").rows == 400
    assert [layer.layer for layer in ckpttool.diagnose("tuned.ckpt", data)] == ["hidden1", "hidden2", "outputs"]
    assert ckpttool.lr_find("fresh.ckpt", data, steps=20).points
    assert ckpttool.search_quick("tuned.ckpt", data).rows in {360, 400}
    found = ckpttool.search(
        "tuned.ckpt", data, "outputs = dense(2)", "found.ckpt", keep="2", freeze="0", seeds=1, folds=2, epochs=1,
        overwrite=True,
    )  # fmt: skip
    assert found.written == Path("found.ckpt")
    rounds = ckpttool.finetune_in_rounds(
        "fresh.ckpt", (X[:80], Y[:80]), "rounds.ckpt", pseudo_label=0.2, unlabelled=X[80:], epochs=1, overwrite=True
    )
    assert rounds
    pretrained = ckpttool.pretrain(X, "low = dense(4, relu)", "autoencoder", "low.ckpt", epochs=1, overwrite=True)
    assert pretrained
    assert Path("low.ckpt.index").exists()


@pytest.mark.usefixtures("folder")
def test_surgery() -> None:
    made = [
        ckpttool.edit("tuned.ckpt", [("rename", r"hidden(\d)=>fc\1")], "edited.ckpt"),
        ckpttool.convert("tuned.ckpt", "converted.npz"),
        ckpttool.split("tuned.ckpt", 200, "split.ckpt"),
        ckpttool.join("split.ckpt", "joined.ckpt"),
        ckpttool.freeze("tuned.ckpt", "hidden1", "frozen.ckpt"),
        ckpttool.strip("tuned.ckpt", "stripped.ckpt"),
        ckpttool.fold("tuned.ckpt", "folded.pb"),
        ckpttool.export_saved_model("tuned.ckpt", "exported"),
        ckpttool.modernize("tuned.ckpt", "modern.ckpt"),
        ckpttool.import_weights("converted.npz", "tuned.ckpt", "imported.ckpt", rename=["global_step=>"]),
        ckpttool.export("tuned.ckpt", "converted.npz", "back.npz", lenient=True),
        ckpttool.collections("tuned.ckpt", "mine", ["X:0"], "named.meta"),
    ]
    assert all(Path(each).exists() or Path(f"{os.fspath(each)}.index").exists() for each in made)  # type: ignore[arg-type]
    assert "fc1/kernel" in ckpttool.open(os.fspath(made[0]))  # type: ignore[arg-type]
    with pytest.raises(ExistingOutput):
        ckpttool.convert("tuned.ckpt", "converted.npz")
    mean = ckpttool.average(["tuned.ckpt", ckpttool.open("tuned.ckpt")], output="mean.ckpt")
    assert ckpttool.diff(mean, "tuned.ckpt").equal
    assert ckpttool.verify("tuned.ckpt", ("hidden1", "frozen.ckpt")).whole
    assert ckpttool.unchanged("tuned.ckpt", "imported.ckpt", "hidden1").holds
    assert ckpttool.salvage("tuned.ckpt").whole


@pytest.mark.usefixtures("folder")
def test_what_is_in_a_model() -> None:
    model = ckpttool.Model.open("tuned.ckpt")
    for form in ("tuned.ckpt", Path("tuned.ckpt"), model, model.checkpoint):
        assert [row["name"] for row in ckpttool.layers(form)] == ["hidden1", "hidden2", "outputs"]
    assert ckpttool.vars("tuned.ckpt", "hidden1")[0]["name"] == "hidden1/bias"
    assert ckpttool.ops("tuned.ckpt", op_type="Placeholder")[0]["name"] == "X"
    assert ckpttool.show("tuned.ckpt", "hidden1/bias").tensor.shape == (8,)
    assert ckpttool.stats("tuned.ckpt").finite
    assert ckpttool.log("tuned.ckpt")
    assert ckpttool.latest(".").name.endswith(".ckpt")
    assert {"bundle", "npz"} <= {row["name"] for row in ckpttool.list_formats()}
    assert isinstance(ckpttool.rules("bert-pytorch-tf1"), str)
    assert ckpttool.scan("tuned.ckpt").code == 0
    assert ckpttool.collections("tuned.ckpt")


@pytest.mark.parametrize(
    "call",
    [
        lambda: ckpttool.layers(3),  # type: ignore[arg-type]
        lambda: ckpttool.evaluate(3, (X, Y)),  # type: ignore[arg-type]
        lambda: ckpttool.evaluate(ckpttool.Checkpoint.of({"a": X}), (X, Y)),  # type: ignore[arg-type]
        lambda: ckpttool.diff(3, 4),  # type: ignore[arg-type]
        lambda: ckpttool.edit("tuned.ckpt", ["rename"], "out.ckpt"),  # type: ignore[list-item]
        lambda: ckpttool.convert("tuned.ckpt", 3),  # type: ignore[arg-type]
    ],
)
@pytest.mark.usefixtures("folder")
def test_kinds_that_do_not_go(call: Any) -> None:
    with pytest.raises(WrongKind, match="expected"):
        call()


@pytest.mark.usefixtures("folder")
def test_what_has_no_files_is_saved_first() -> None:
    with pytest.raises(PlanError, match="`save` writes them"):
        ckpttool.verify(ckpttool.open("tuned.ckpt").rename({"hidden(.)": r"fc\1"}))


@pytest.mark.usefixtures("folder")
def test_what_was_made_in_this_process_is_split_joined_and_converted() -> None:
    renamed = ckpttool.open("tuned.ckpt").rename({"hidden(.)": r"fc\1"})
    parts = ckpttool.split(renamed, 100, "parts.safetensors")
    whole = ckpttool.join(parts, "whole.npz")
    assert ckpttool.diff(renamed, whole).equal
    arrays = {"fc/kernel": np.ones((2, 3), np.float32), "fc/bias": np.zeros(3, np.float32)}
    made = [
        ckpttool.split(arrays, 8, "arrays.ckpt"),
        ckpttool.join(arrays, "one.ckpt"),
        ckpttool.convert(arrays, "arrays.npz"),
    ]
    assert [ckpttool.diff(arrays, each).equal for each in made] == [True] * 3
