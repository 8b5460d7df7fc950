"""Class names are stored with the model; a head for other classes than the labels' is rejected."""

import csv
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., str]
SHAPES = ["circle", "square", "star"]
COLOURS = ["red", "green", "blue"]
TUNE = "--epochs 1 --batch-size 20"


def make(folder: Path) -> None:
    """The network and the images of sorted rows, and files of names."""
    runpy.run_path(str(Path(__file__).with_name("test_sorted_rows.py")))["make"](folder)
    (folder / "colours.txt").write_text("\n".join(COLOURS))
    (folder / "index.json").write_text(json.dumps({str(n): [f"n{n}", name] for n, name in enumerate(SHAPES)}))
    (folder / "seven.txt").write_text("\n".join("abcdefg"))


def answer(printed: str) -> Any:
    return json.loads(printed.splitlines()[-1])


def predicted(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def test_names_from_a_file_travel(folder: Path, run: Run) -> None:
    run("ckpttool reuse net.ckpt --layers hidden --head 'outputs = dense(3)' --classes index.json -o new.ckpt")
    assert "3 classes: circle, square, star" in run("ckpttool layers new.ckpt")
    assert "3 classes: circle, square, star" in run("ckpttool log new.ckpt")
    assert SHAPES in [row["items"] for row in json.loads(run("ckpttool collections new.ckpt --json"))]
    run(f"ckpttool finetune new.ckpt --data rows.npz {TUNE} -o tuned.ckpt")
    run("ckpttool export-saved-model tuned.ckpt -o served")
    run("ckpttool strip tuned.ckpt -o small.ckpt")
    for model in ("tuned.ckpt", "served", "small.ckpt"):
        run(f"ckpttool predict {model} --data rows.npz -o {Path(model).stem}.csv")
        rows = predicted(f"{Path(model).stem}.csv")
        assert {row["name"] == SHAPES[int(row["class"])] for row in rows} == {True}
    judged = run("ckpttool evaluate tuned.ckpt --data rows.npz --split train")
    assert [line.split("\t")[1] for line in judged.splitlines() if "\t" in line] == SHAPES
    missed = [line.split("\t")[-1] for line in judged.splitlines() if "\t" in line]
    assert set(missed) <= {*SHAPES, ""} and set(missed) != {""}


def test_names_are_given_where_a_model_has_none(folder: Path, run: Run) -> None:
    run("ckpttool predict net.ckpt --data rows.npz --classes colours.txt -o rows.csv.out.csv")
    assert list(predicted("rows.csv.out.csv")[0])[3:] == [f"probability_{name}" for name in COLOURS]
    judged = answer(run("ckpttool evaluate net.ckpt --data rows.npz --classes colours.txt --json"))
    assert [row["name"] for row in judged["classes"]] == COLOURS
    for command in ("evaluate", "diagnose", "predict -o x.csv", "finetune -o x.ckpt"):
        refused = run(f"ckpttool {command} net.ckpt --data rows.npz --classes seven.txt", 2)
        assert "net.ckpt has 3 outputs, and there are 7 classes: a, b, c" in refused
        assert "specify --classes with a file of all 3 names" in refused


def test_a_head_with_outputs_to_spare(folder: Path, run: Run) -> None:
    """Folders name the classes of the first outputs; the others keep their numbers."""
    run("ckpttool reuse net.ckpt --layers hidden --head 'outputs = dense(5)' -o five.ckpt")
    spare = "5 outputs and 3 classes: circle, square, star: the last 2 stand for none; --classes names them"
    assert spare in run(f"ckpttool finetune five.ckpt --data pictures {TUNE} -o tuned.ckpt")
    kept = "5 classes: circle, square, star, output 3, output 4"
    assert kept in run("ckpttool layers tuned.ckpt")
    for command in ("evaluate five.ckpt", "diagnose five.ckpt"):
        assert spare in run(f"ckpttool {command} --data pictures")
    assert spare not in run("ckpttool evaluate tuned.ckpt --data pictures")
    run(f"ckpttool finetune tuned.ckpt --data pictures {TUNE} -o again.ckpt")
    assert kept in run("ckpttool log again.ckpt")
    assert f"a GraphDef does not keep {kept}" in run("ckpttool fold again.ckpt -o again.pb")


def test_a_head_for_other_classes_than_the_labels(folder: Path, run: Run) -> None:
    run("ckpttool reuse net.ckpt --layers hidden --head 'outputs = dense(5)' -o five.ckpt")
    run("ckpttool reuse net.ckpt --layers hidden --head 'outputs = dense(2)' -o two.ckpt")
    refused = run(f"ckpttool finetune two.ckpt --data pictures {TUNE} -o x.ckpt", 2)
    assert "two.ckpt has 2 outputs, and there are 3 classes" in refused
    assert not list(Path().glob("x.ckpt*"))
    for head in ("outputs = dense(5)", "outputs = dense(5, sigmoid)"):
        refused = run(f"ckpttool reuse net.ckpt --layers hidden --head '{head}' --classes seven.txt -o x.ckpt", 2)
        assert "has 5 outputs, and there are 7 classes" in refused
    refused = run("ckpttool reuse net.ckpt --layers .* --classes seven.txt -o x.ckpt", 2)
    assert "outputs/add:0 has 3 outputs" in refused
    # What the message suggests: a file with all names, or a head of the right width.
    Path("all.txt").write_text("\n".join([*SHAPES, "moon", "sun"]))
    run(f"ckpttool finetune five.ckpt --data pictures --classes all.txt {TUNE} -o five_tuned.ckpt")
    assert "5 classes: circle, square, star, moon, sun" in run("ckpttool layers five_tuned.ckpt")
    run("ckpttool reuse two.ckpt --layers hidden --head 'classes = dense(3)' -o three.ckpt")
    run(f"ckpttool finetune three.ckpt --data pictures {TUNE} -o three_tuned.ckpt")
    assert f"3 classes: {', '.join(SHAPES)}" in run("ckpttool layers three_tuned.ckpt")


def test_a_head_that_was_trained_for_other_classes(folder: Path, run: Run) -> None:
    run(f"ckpttool finetune net.ckpt --data rows.npz --classes colours.txt {TUNE} -o colours.ckpt")
    refused = run(f"ckpttool finetune colours.ckpt --data pictures {TUNE} -o x.ckpt", 2)
    assert "pictures: the classes circle, square, star are not among the model's: red, green, blue" in refused
    said = run(f"ckpttool finetune colours.ckpt --data pictures --classes index.json {TUNE} -o shapes.ckpt")
    assert "the classes were red, green, blue, now they are circle, square, star" in said
    again = run("ckpttool finetune --config shapes.ckpt.run.json -o again.ckpt")
    assert "epoch" in again and "circle" in run("ckpttool layers again.ckpt")


def test_one_output_tells_two_classes_apart(folder: Path, run: Run) -> None:
    arrays = dict(np.load("rows.npz"))
    np.savez("two.npz", x_train=arrays["x_train"][:40], y_train=np.array(SHAPES)[arrays["y_train"][:40]])
    run("ckpttool reuse net.ckpt --layers hidden --head 'outputs = dense(1)' --objective sigmoid -o one.ckpt")
    run(f"ckpttool finetune one.ckpt --data two.npz {TUNE} -o tuned.ckpt")
    run("ckpttool predict tuned.ckpt --data two.npz -o predictions.csv")
    rows = predicted("predictions.csv")
    assert [row["name"] for row in rows] == [SHAPES[int(row["label_0"])] for row in rows]


@pytest.mark.parametrize("name", ["none.txt", "net.ckpt.index"])
def test_files_without_names(folder: Path, run: Run, name: str) -> None:
    assert f"Error: {name}" in run(f"ckpttool evaluate net.ckpt --data rows.npz --classes {name}", 2)


def test_a_run_from_python_whose_classes_were_a_list_is_repeated(folder: Path, run: Run) -> None:
    from ckpttool.model.model import Model
    from ckpttool.runtime.recipe import Recipe
    from ckpttool.training.options import Options
    from ckpttool.verbs.finetune import finetune

    named = ["red, dark", "green", "blue"]
    options = Options(epochs=1, batch_size=20, recipe=Recipe("sgd", lr="0.01"), classes=named)
    finetune(Model.open("net.ckpt"), "rows.npz", options, "first.ckpt")
    run("ckpttool finetune --config first.ckpt.run.json -o again.ckpt")
    assert "3 classes: red, dark, green, blue" in run("ckpttool layers again.ckpt")
    Path("run.toml").write_text('classes = ["red", "green", "blue"]')
    run(f"ckpttool finetune net.ckpt --data rows.npz --config run.toml {TUNE} -o toml.ckpt")
    assert "3 classes: red, green, blue" in run("ckpttool log toml.ckpt")


def test_a_graph_that_cannot_be_read_is_said_by_log(folder: Path, run: Run) -> None:
    run("ckpttool reuse net.ckpt --layers hidden --head 'outputs = dense(3)' --classes index.json -o new.ckpt")
    Path("new.ckpt.meta").write_bytes(b"no graph")
    assert "what the graph keeps of its rows is not known: new.ckpt.meta" in run("ckpttool log new.ckpt")
