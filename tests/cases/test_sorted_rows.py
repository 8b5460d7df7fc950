"""Rows sorted by class: rows of each class are held out, and the same ones are used for later evaluation."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.data.dataset import training_splits
from ckpttool.data.files import InputSpec, Wanted
from ckpttool.data.held_out import HeldOut
from ckpttool.data.splits import Split

Run = Callable[..., str]
SHAPES = ("circle", "square", "star")
WANTED = Wanted((InputSpec("X", (None, 64), BY_NAME["float32"]),), InputSpec("y", (None,), BY_NAME["int64"]))
SCRATCH = "--epochs 3 --optimizer momentum(0.1) --batch-size 20"


def make(folder: Path) -> None:
    """A network of plain ops, and 60 rows sorted by class as arrays, a table and images: 15 patients of 4 rows."""
    import tensorflow as tf
    from PIL import Image

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        X, y = v1.placeholder(tf.float32, [None, 64], name="X"), v1.placeholder(tf.int64, [None], name="y")
        with v1.variable_scope("hidden"):
            hidden = tf.nn.relu(tf.matmul(X, v1.get_variable("kernel", [64, 8])) + v1.get_variable("bias", [8]))
        with v1.variable_scope("outputs"):
            logits = tf.matmul(hidden, v1.get_variable("kernel", [8, 3])) + v1.get_variable("bias", [3])
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss")
        tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), y), tf.float32), name="accuracy")
        v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "net.ckpt"), write_state=False)
    random = np.random.default_rng(5)
    y_train = np.repeat(np.arange(3), 20)
    x_train = (random.integers(0, 90, (60, 8, 8)) + 80 * (np.arange(8) % 3 == y_train[:, None, None])).astype(np.uint8)
    patient = np.array([f"p{number // 4:02}" for number in range(60)])
    np.savez(folder / "rows.npz", x_train=x_train, y_train=y_train, patient=patient)
    lines = [",".join(["shape", "patient", *(f"c{number}" for number in range(64))])]
    for image, label, who, row in zip(x_train, y_train, patient, range(60), strict=True):
        lines.append(",".join([SHAPES[label], who, *map(str, image.reshape(-1).tolist())]).replace("shape", "label"))
        (folder / "pictures" / SHAPES[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "pictures" / SHAPES[label] / f"{who}_{row}.png")
    (folder / "rows.csv").write_text("\n".join([lines[0].replace("shape", "label"), *lines[1:]]) + "\n")


def held_out(
    data: str, valid: int | str | None = None, group: str | None = None, seed: int = 42
) -> tuple[Split, Split]:
    wanted = Wanted(WANTED.inputs, WANTED.labels, group=group)
    return training_splits(data, wanted, HeldOut.parse(valid, group, seed))


def answer(printed: str) -> dict[str, Any]:
    """The JSON output of a command, after its messages."""
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def arrays_of(path: str) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def report(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{name}.run.json").read_text())
    return found


@pytest.mark.parametrize("data", ["rows.npz", "rows.csv", "pictures"])
@pytest.mark.parametrize("valid", ["12", "20%"])
def test_every_class_is_held_out_in_its_share(folder: Path, data: str, valid: str) -> None:
    train, valid_rows = held_out(
        data, valid, "p[0-9]+" if data == "pictures" else "patient" if data == "rows.csv" else None
    )
    assert train.labels is not None and valid_rows.labels is not None
    assert np.bincount(valid_rows.labels).tolist() == [4, 4, 4]
    assert np.bincount(train.labels).tolist() == [16, 16, 16]
    assert sorted([*train.numbers, *valid_rows.numbers]) == list(range(60))


def test_the_model_is_judged_by_the_rows_that_were_held_out(folder: Path, run: Run) -> None:
    said = run(f"ckpttool finetune net.ckpt --data rows.npz --valid 15 {SCRATCH} -o tuned.ckpt")
    assert "data: validation: 15 of 60 rows, drawn by class with seed 42" in said
    best = report("tuned.ckpt")["history"][report("tuned.ckpt")["best_epoch"] - 1]
    judged = answer(run("ckpttool evaluate tuned.ckpt --data rows.npz --json"))
    assert (judged["rows"], [each["rows"] for each in judged["classes"]]) == (15, [5, 5, 5])
    assert judged["accuracy"] == pytest.approx(best["valid_accuracy"])
    assert judged["loss"] == pytest.approx(best["valid_loss"], rel=1e-5)
    trained = answer(run("ckpttool evaluate tuned.ckpt --data rows.npz --split train --json"))
    assert trained["rows"] == 45
    run("ckpttool predict tuned.ckpt --data rows.npz --split valid -o predictions.csv")
    numbers = [int(line.split(",")[0]) for line in Path("predictions.csv").read_text().splitlines()[1:]]
    assert numbers == held_out("rows.npz", 15)[1].numbers.tolist()


def test_other_rows_are_not_taken_for_those_of_the_run(folder: Path, run: Run) -> None:
    run(f"ckpttool finetune net.ckpt --data rows.npz {SCRATCH} -o tuned.ckpt")
    arrays = arrays_of("rows.npz")
    np.savez("later.npz", **(arrays | {"x_train": arrays["x_train"] // 2}))
    said = run("ckpttool evaluate tuned.ckpt --data later.npz")
    assert "rows that were held out by tuned.ckpt.run.json are not among these: all are taken" in said
    assert "60 rows: loss" in said
    refused = run("ckpttool evaluate tuned.ckpt --data later.npz --split valid", exit_code=2)
    assert "--valid specifies which are meant" in refused
    assert "6 rows: loss" in run("ckpttool evaluate tuned.ckpt --data later.npz --split valid --valid 10%")
    assert "says which were held out" in run("ckpttool evaluate net.ckpt --data rows.npz")


@pytest.mark.parametrize(("data", "group"), [("rows.npz", "patient"), ("rows.csv", "patient"), ("pictures", "p[0-9]+")])
def test_no_patient_is_on_both_sides(folder: Path, run: Run, data: str, group: str) -> None:
    patients = np.arange(60) // 4
    train, valid = held_out(data, "20%", group)
    assert set(patients[train.numbers]) & set(patients[valid.numbers]) == set()
    assert np.bincount(valid.labels if valid.labels is not None else []).tolist() == [4, 4, 4]
    said = run(f"ckpttool finetune net.ckpt --data {data} --valid 20% --group {group} {SCRATCH} -o tuned.ckpt")
    assert f"validation: 12 of 60 rows, 3 of 15 groups by {group}, drawn by class with seed 42" in said
    assert answer(run(f"ckpttool evaluate tuned.ckpt --data {data} --json"))["rows"] == 12


def test_rows_by_their_places_as_before(folder: Path, run: Run) -> None:
    for valid, numbers in (("first:5", range(5)), ("last:10%", range(54, 60))):
        assert held_out("rows.npz", valid)[1].numbers.tolist() == list(numbers)
    assert "expected a number of rows or a share" in run(
        "ckpttool finetune net.ckpt --data rows.npz --valid middle:5 -o x", 2
    )
    assert "no array for --group wing" in run("ckpttool finetune net.ckpt --data rows.npz --group wing -o x", 2)


def test_what_makes_a_judgement_worth_less_is_said(folder: Path, run: Run) -> None:
    arrays = arrays_of("rows.npz")
    x, y = arrays["x_train"], arrays["y_train"]
    x[20:40] = x[:20]
    np.savez("doubtful.npz", x_train=x[:40], y_train=y[:40], x_valid=x[30:35], y_valid=y[30:35])
    said = run(f"ckpttool finetune net.ckpt --data doubtful.npz {SCRATCH} -o doubtful.ckpt")
    for line in (
        "5 rows in the validation set, fewer than 20: one of them is 20% of the accuracy",
        "no validation row has the label 0",
        "5 of 5 validation rows are training rows too, by their inputs: they are less representative of new data",
        "no training row has the label 2",
    ):
        assert line in said.splitlines() or f"data: {line}" in said.splitlines()
    assert not [line for line in said.splitlines() if "fewer" in line and "5 rows" not in line]
    assert "fewer than 20" not in run(f"ckpttool finetune net.ckpt --data rows.npz --valid 20 {SCRATCH} -o 20.ckpt")
    grouped = {"wing_train": np.arange(40) // 10, "wing_valid": np.arange(5), **arrays_of("doubtful.npz")}
    np.savez("wings.npz", **grouped)
    said = run(f"ckpttool finetune net.ckpt --data wings.npz --group wing {SCRATCH} -o wings.ckpt")
    assert "4 of 5 groups by wing have training rows too" in said


def csv_rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("data", ["pictures", "rows.csv", "texts.npz"])
def test_classes_keep_their_names(folder: Path, run: Run, data: str) -> None:
    arrays = arrays_of("rows.npz")
    np.savez("texts.npz", x_train=arrays["x_train"], y_train=np.array(SHAPES)[arrays["y_train"]])
    group = "--group patient" if data == "rows.csv" else ""
    run(f"ckpttool finetune net.ckpt --data {data} {group} {SCRATCH} -o tuned.ckpt")
    assert report("tuned.ckpt")["data"]["classes"] == list(SHAPES)
    judged = answer(run(f"ckpttool evaluate tuned.ckpt --data {data} --json"))
    assert [(row["class"], row["name"]) for row in judged["classes"]] == list(enumerate(SHAPES))
    assert "circle" in run(f"ckpttool evaluate tuned.ckpt --data {data}")
    run("ckpttool predict tuned.ckpt --data rows.npz -o predictions.csv")
    rows = csv_rows("predictions.csv")
    assert list(rows[0]) == ["row", "class", "name", *(f"probability_{name}" for name in SHAPES)]
    for row in rows:
        assert (
            row["name"] == SHAPES[int(row["class"])] == max(SHAPES, key=lambda name: float(row[f"probability_{name}"]))
        )


def test_pictures_are_named_in_what_is_predicted(folder: Path, run: Run) -> None:
    run(f"ckpttool finetune net.ckpt --data pictures {SCRATCH} -o tuned.ckpt")
    run("ckpttool strip tuned.ckpt -o small.ckpt")
    Path("new").mkdir()
    for number, file in enumerate(sorted(Path("pictures").rglob("*.png"))[::7]):
        file.rename(Path("new") / f"{number}.png")
    run("ckpttool predict small.ckpt --data new -o new.csv")
    assert [row["file"] for row in csv_rows("new.csv")] == sorted(file.name for file in Path("new").iterdir())
    assert {row["name"] for row in csv_rows("new.csv")} <= set(SHAPES)
    run("ckpttool predict small.ckpt --data new -o new.npz")
    with np.load("new.npz", allow_pickle=False) as arrays:
        assert arrays["files"].astype(str).tolist() == [row["file"] for row in csv_rows("new.csv")]
        assert arrays["names"].astype(str).tolist() == [row["name"] for row in csv_rows("new.csv")]


def test_a_folder_that_lacks_a_class_is_numbered_as_the_model_is(folder: Path, run: Run) -> None:
    run("ckpttool finetune net.ckpt --data pictures --epochs 20 --optimizer adam --batch-size 10 -o tuned.ckpt")
    whole = answer(run("ckpttool predict tuned.ckpt --data pictures -o all.csv --json"))
    assert whole["classes"] == list(SHAPES)
    right = [
        row["file"].split("/")[0] == row["name"] for row in csv_rows("all.csv") if not row["file"].startswith("circle")
    ]
    shutil.rmtree("pictures/circle")
    judged = answer(run("ckpttool evaluate tuned.ckpt --data pictures --json"))
    assert judged["accuracy"] == pytest.approx(np.mean(right)) and judged["rows"] == 40
    assert [row["rows"] for row in judged["classes"]] == [0, 20, 20]
    Path("pictures/star").rename("pictures/sun")
    refused = run("ckpttool evaluate tuned.ckpt --data pictures", 2)
    assert "the classes sun are not among the model's: circle, square, star" in refused


def test_a_new_head_forgets_the_names(folder: Path, run: Run) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    run(f"ckpttool finetune net.ckpt --data pictures {SCRATCH} -o tuned.ckpt")
    with tf.Graph().as_default(), v1.Session() as session:
        v1.train.import_meta_graph("tuned.ckpt.meta", import_scope="inner").restore(session, "tuned.ckpt")
        v1.train.export_meta_graph("exported.meta")
    run("ckpttool reuse tuned.ckpt --layers hidden --head 'outputs = dense(3)' -o new.ckpt")
    run("ckpttool predict new.ckpt --data rows.npz -o predictions.csv")
    assert list(csv_rows("predictions.csv")[0])[:3] == ["row", "class", "probability_0"]


def before(path: str, valid: int | None) -> None:
    """Make a report or a save as written when rows were held out by their position."""
    document = json.loads(Path(path).read_text())
    options = document.get("options") or document["asked"]
    del options["group"]
    options["valid"] = valid
    document.get("data", {}).pop("held_out", None)
    document.pop("json_crc32c", None)
    Path(path).write_text(json.dumps(document))


@pytest.mark.parametrize(("valid", "rule"), [(None, "last:10%"), (6, "first:6")])
def test_reports_and_saves_from_before_keep_their_rows(folder: Path, run: Run, valid: int | None, rule: str) -> None:
    common = f"ckpttool finetune net.ckpt --data rows.npz {SCRATCH}"
    run(f"{common} --valid {rule} --save-every '1 epoch' -o old.ckpt")
    for state in Path("old.ckpt.saves").glob("*.json"):
        before(str(state), valid)
    before("old.ckpt.run.json", valid)
    repeated = run("ckpttool finetune --config old.ckpt.run.json -o again.ckpt")
    assert "is of other data" not in repeated
    assert report("again.ckpt")["data"]["fingerprint"] == report("old.ckpt")["data"]["fingerprint"]
    assert answer(run("ckpttool evaluate old.ckpt --data rows.npz --json"))["rows"] == 6

    as_typed = "" if valid is None else f"--valid {valid}"
    resumed = run(f"{common} {as_typed} --epochs 5 --save-every '1 epoch' --resume --overwrite -o old.ckpt")
    assert f"the run was begun when rows were not drawn: it goes on with --valid {rule}" in resumed
    assert len(report("old.ckpt")["history"]) == 5
    refused = run(f"{common} --valid 12 --epochs 6 --save-every '1 epoch' --resume --overwrite -o old.ckpt", 2)
    assert "valid was" in refused
