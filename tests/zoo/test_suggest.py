"""Suggesting entries: which fit another network or rows of a shape, and that the displayed commands work."""

import json
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ckpttool import checkpoint
from ckpttool.cli import main
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_suggest import zoo_suggest
from ckpttool.zoo.fits import Stack, fits_of_model, fits_of_rows
from ckpttool.zoo.stacks import common, stack_text
from tests.families import FAMILIES, data, network

DIGITS = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.stdout + result.stderr + repr(result.exception)
    return result


def suggested(*arguments: str | Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run("zoo", "suggest", *arguments, "--json").stdout)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network as TensorFlow 1, as a SavedModel and as a Keras file."""
    folder, one = tmp_path_factory.mktemp("made"), network()
    return {family: FAMILIES[family].make(one, folder) for family in ("meta", "export", "keras")}


@pytest.fixture
def entries(made: dict[str, Path], own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.chdir(tmp_path)
    for name, path in made.items():
        zoo_add(path, name)
    return made


def kernel(path: Path) -> Any:
    held = checkpoint.open(path)
    return next(held[name].read() for name in held if name.endswith("conv/kernel"))


def test_commands_for_rows_of_a_shape_do_what_they_say(entries: dict[str, Path], tmp_path: Path) -> None:
    zoo_add(DIGITS, "digits")
    found = suggested("--input", "6x6x1")
    assert [each["entry"] for each in found] == ["export@1", "keras@1", "meta@1"]
    assert {(each["layers"], each["of"], each["takes"]) for each in found} == {(3, 4, "6x6x1")}
    for each in found:
        assert each["command"][:3] == ["ckpttool", "reuse", f"zoo:{each['entry'][:-2]}"]
        output = each["command"][-1]
        run(*each["command"][1:])
        np.testing.assert_array_equal(kernel(tmp_path / output), kernel(entries["meta"]))
    assert {path.name for path in tmp_path.glob("reused*") if not path.suffix.endswith("index")} >= {"reused.keras"}


def test_the_command_is_said_ready_to_paste(own: Path) -> None:
    zoo_add(DIGITS, "digits")
    result = run("zoo", "suggest", "--input", "28x28x1")
    assert result.stdout == "digits@1\tckpt\t5 of 6\t784\ttakes 784, as many numbers: the layers below its outputs\n"
    command, note = result.stderr.splitlines()
    (each,) = suggested("--input", "28,28,1")
    assert shlex.split(command) == each["command"]
    assert each["command"][3:7] == ["--layers", "hidden[1-5]", "--head", "outputs = dense(10)"]
    assert note == "10 stands for the number of your classes"


def test_layers_go_into_a_network_that_calls_them_the_same(own: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    zoo_add(DIGITS, "digits")
    layers = "hidden1 = dense(300, relu); hidden2 = dense(50, relu); hidden3 = dense(7, relu); outputs = dense(4)"
    run("new", "--input", "784", "--layers", layers, "-o", "other.ckpt")
    (each,) = suggested("--for", "other.ckpt")
    assert (each["layers"], each["of"], each["kept"]) == (2, 6, ["hidden1", "hidden2"])
    assert each["command"][5:7] == ["--into", "other.ckpt"]
    run(*each["command"][1:])
    for name in ("hidden1/kernel", "hidden2/bias"):
        np.testing.assert_array_equal(checkpoint.open("reused.ckpt")[name].read(), checkpoint.open(DIGITS)[name].read())


@pytest.mark.parametrize("other", ["meta", "export", "keras"])
def test_a_network_fits_itself_whatever_its_family(entries: dict[str, Path], tmp_path: Path, other: str) -> None:
    found = {each["entry"]: each for each in suggested("--for", entries[other])}
    assert {each["layers"] for each in found.values()} == {4}
    for each in found.values():
        run(*each["command"][1:], "--overwrite")
        output = each["command"][-1]
        np.testing.assert_array_equal(kernel(tmp_path / output), kernel(entries["meta"]))
    assert "--into" in found[f"{other}@1"]["command"]


def test_images_of_another_size_fit_the_layers_that_do_not_depend_on_it(entries: dict[str, Path]) -> None:
    found = suggested("--input", "9x9x1")
    assert {each["layers"] for each in found} == {2}
    command = next(each["command"] for each in found if each["entry"] == "keras@1")
    assert command[command.index("--preprocess") + 1] == "resize(6, 6)"
    run(*command[1:])
    assert not suggested("--input", "9x9x3")
    assert "no entry fits" in run("zoo", "suggest", "--input", "9x9x3").stderr


def test_rows_rank_what_frozen_layers_give(entries: dict[str, Path], tmp_path: Path) -> None:
    rows = {**data(), "y_train": np.array([row.mean() > 0 for row in data()["x_train"]], "int64")}
    np.savez(tmp_path / "rows.npz", **rows)
    blind = tmp_path / "blind.ckpt"
    zeros = {name: tensor.read() for name, tensor in checkpoint.open(entries["meta"]).items()}
    checkpoint.save({**zeros, "conv/kernel": np.zeros_like(zeros["conv/kernel"])}, blind)
    blind.with_name("blind.ckpt.meta").write_bytes(Path(f"{entries['meta']}.meta").read_bytes())
    zoo_add(blind, "blind")
    found = suggested("--input", "6x6x1", "--data", tmp_path / "rows.npz")
    assert found[-1]["entry"] == "blind@1"
    scores = [each["score"] for each in found]
    assert scores == sorted(scores, reverse=True)
    assert all(each["logme"] is not None and each["problem"] is None for each in found)
    for each in found[:3]:
        assert "dense(2)" in " ".join(each["command"])
        run(*each["command"][1:], "--overwrite")


def test_an_entry_that_cannot_be_scored_says_why(own: Path, tmp_path: Path) -> None:
    zoo_add(DIGITS, "digits")
    np.savez(tmp_path / "rows.npz", x_train=np.zeros((8, 784), np.float32))
    (each,) = suggested("--input", "784", "--data", tmp_path / "rows.npz")
    assert each["score"] is None
    assert "no array for y" in each["problem"]


def test_another_catalogue_is_named_by_paths(own: Path, tmp_path: Path) -> None:
    zoo_add(DIGITS, "digits", root=tmp_path / "shared")
    (each,) = suggested("--input", "784", "--zoo", tmp_path / "shared")
    assert Path(each["command"][2]) == tmp_path / "shared" / "by-name" / "digits" / "1" / "my_model_final.ckpt"


def test_weights_alone_are_not_suggested_and_the_latest_revision_counts(
    own: Path, tmp_path: Path, weights: Any
) -> None:
    zoo_add(weights("a.npz", x=1), "a")
    zoo_add(DIGITS, "digits")
    run("new", "--input", "5", "--layers", "outputs = dense(4)", "-o", tmp_path / "small.ckpt")
    assert [each["entry"] for each in suggested("--input", "784")] == ["digits@1"]
    zoo_add(tmp_path / "small.ckpt", "digits")
    assert not suggested("--input", "784")
    assert not suggested("--input", "5")  # its only layer computes the outputs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "specify --for, a model, or --input"),
        (("--input", "784", "--for", DIGITS), "not both"),
        (("--input", "28xx1"), "is not a shape such as 784 or 28x28x1"),
        (("--for", "missing.ckpt"), "missing.ckpt"),
    ],
)
def test_what_cannot_be_asked_is_told(own: Path, arguments: tuple[Any, ...], said: str) -> None:
    zoo_add(DIGITS, "digits")
    assert said in run("zoo", "suggest", *arguments, code=2).stderr


def test_a_damaged_index_is_made_anew(own: Path) -> None:
    zoo_add(DIGITS, "digits")
    assert zoo_suggest(shape=(784,))
    database = sqlite3.connect(own / "index.sqlite")
    database.execute("UPDATE stacks SET takes = '785'")
    database.commit()
    database.close()
    assert not zoo_suggest(shape=(785,))
    assert zoo_suggest(shape=(784,))


def test_what_is_not_known_of_a_layer_fits_nothing_by_mistake() -> None:
    open_sizes = stack_text([{"kind": "dense", "variables": ["k"], "shapes": [[None, 3]]}])
    assert common([open_sizes], [open_sizes]) == 0
    hostile = stack_text([{"kind": "dense;conv2d 1", "variables": ["k"], "shapes": [["4;", -3]]}, {"kind": 4}])
    assert hostile == "? ?x?;?"
    unknown, known = "? 4x3 3", "dense 4x3 3"
    assert (common([unknown], [known]), common(["bias 4x3 3"], [known])) == (1, 0)


def test_those_with_most_layers_in_common_come_first() -> None:
    layers = ["dense 4x3 3", "dense 3x3 3", "dense 3x2 2"]
    stacks = [Stack(str(count), 1, "4", count, count - 1, ";".join(layers[:count])) for count in (1, 2, 3)]
    assert [fit.layers for fit in fits_of_model(stacks, layers)] == [3, 2, 1]
    assert [(fit.name, fit.layers) for fit in fits_of_rows(stacks, (2, 2))] == [("3", 2), ("2", 1)]
