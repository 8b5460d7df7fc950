"""Pseudo-labels: a model labels rows itself and is trained on these too, in rounds that are stored and reported."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, DataError, ExistingOutput, Interrupted, PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options, PseudoLabels
from ckpttool.training.pseudo_labels import surest
from ckpttool.verbs import pseudo_labels
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.new import new
from ckpttool.verbs.pseudo_labels import Rounds, finetune_in_rounds

OPTIONS = Options(epochs=15, batch_size=8, recipe=Recipe("adam(0.05)"), seed=2)
Train = Callable[..., Rounds]


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds: rows of class 1 are above the others, and vary ten times as much along both numbers."""
    draw, labels = np.random.default_rng(seed), np.arange(count) % 2
    x = np.stack([draw.normal(size=count) * 3, labels * 2 - 1 + draw.normal(size=count) * 0.3], 1)
    return x.astype(np.float32), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 labelled rows, 40 to validate on and 200 to test on; 300 unlabelled ones, the first from those; a network."""
    folder = tmp_path_factory.mktemp("rows")
    few, valid, test, many = (rows(count, seed) for seed, count in enumerate((8, 40, 200, 300), 10))
    named = dict(zip(("train", "valid", "test"), (few, valid, test), strict=True))
    np.savez(
        folder / "few.npz", **{f"{n}_{k}": v for k, both in named.items() for n, v in zip("xy", both, strict=True)}
    )
    np.savez(folder / "many.npz", x_train=np.concatenate([few[0], valid[0][:5], many[0]]), y_train=np.full(313, 7))
    new([2], "outputs = dense(2)", folder / "network.ckpt", recipe=Recipe(), seed=1)
    return folder


@pytest.fixture
def train(folder: Path, tmp_path: Path) -> Train:
    """Train in rounds under `tmp_path`; arguments override the defaults."""

    def train(name: str = "out.ckpt", model: str = "network.ckpt", data: str = "few.npz", **more: Any) -> Rounds:
        pseudo = {"share": 0.5, "unlabelled": folder / "many.npz", "rounds": 2, **more.pop("pseudo", {})}
        options = replace(OPTIONS, **more.pop("options", {}))
        opened = Model.open(folder / model)
        return finetune_in_rounds(opened, folder / data, options, tmp_path / name, PseudoLabels(**pseudo), **more)

    return train


def values(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


def test_pseudo_labels_help_where_rows_lie_in_clouds(train: Train, folder: Path, tmp_path: Path) -> None:
    """From 8 rows the wrong line is learnt; the most confident of 300 others are within the clouds."""
    done = train()
    alone, *labelled = done.rounds
    accuracies = [each["valid_accuracy"] for each in done.rounds]
    assert accuracies[0] < 0.7 and accuracies[2] > accuracies[0] + 0.2 and done.kept == 2
    assert evaluate(Model.open(tmp_path / "out.ckpt"), folder / "few.npz").accuracy > accuracies[0] + 0.2
    assert "rows" not in alone and [each["rows"] for each in labelled] == [sum(e["classes"].values()) for e in labelled]
    assert all(150 <= each["rows"] <= 152 and each["probability"] > 0.8 for each in labelled)
    assert not list(tmp_path.glob("*.rounds"))


def test_the_report_has_what_was_labelled(train: Train, folder: Path, tmp_path: Path) -> None:
    """Labelled and validation rows get no label, though they are among those without; labels are unread."""
    done = train(pseudo={"rounds": 1}, options={"epochs": 2})
    report = json.loads((tmp_path / "out.ckpt.run.json").read_text())
    assert report["pseudo_labels"] == json.loads(json.dumps(done.rounds)) and report["kept_round"] == done.kept
    asked = {name: report["options"][name] for name in ("pseudo_label", "unlabelled", "rounds", "sure")}
    assert asked == {"pseudo_label": 0.5, "unlabelled": str(folder / "many.npz"), "rounds": 1, "sure": 0.0}
    labelled = report["pseudo_labels"][1]["labelled"]
    numbers = sorted(labelled["0"] + labelled["1"])
    assert len(numbers) == report["pseudo_labels"][1]["rows"] and numbers[0] >= 13
    assert report["data"]["rows"] == {"train": 8 + len(numbers), "valid": 40}
    assert (tmp_path / "out.ckpt.history.csv").read_text().count("\n") == 1 + len(report["history"])


def test_the_surest_of_each_class_are_what_the_model_of_the_round_before_says(train: Train, tmp_path: Path) -> None:
    """Computed again in NumPy from the weights of round 0."""
    short: dict[str, Any] = {"options": {"epochs": 3}}
    done = train("out.ckpt", pseudo={"rounds": 1}, **short)
    alone = train("alone.ckpt", pseudo={"sure": 1.0}, **short)
    assert len(alone.rounds) == 1
    weights = values(tmp_path / "alone.ckpt")
    x = np.concatenate([np.zeros((13, 2)), rows(300, 13)[0]])
    logits = x @ weights["outputs/kernel"] + weights["outputs/bias"]
    high, classes = 1 / (1 + np.exp(-np.abs(logits[:, 1] - logits[:, 0]))), logits.argmax(axis=1)
    expected = surest(classes, high, 0.5, np.arange(313) >= 13, np.arange(313) >= 13)
    labelled = done.rounds[1]["labelled"]
    assert sorted(labelled["0"] + labelled["1"]) == expected.tolist()
    assert labelled["1"] == [number for number in expected.tolist() if classes[number] == 1]
    assert done.rounds[1]["probability"] == pytest.approx(high[expected].mean(), abs=1e-5)


def test_moving_averages_label_rows_and_are_gone_on_with(train: Train, tmp_path: Path) -> None:
    """By a round's averages, computed again in NumPy."""
    options: dict[str, Any] = {"recipe": Recipe("adam(0.05)", ema=0.9), "epochs": 3}
    done = train("out.ckpt", pseudo={"rounds": 1}, options=options)
    train("alone.ckpt", pseudo={"sure": 1.0}, options=options)
    weights = values(tmp_path / "alone.ckpt")
    kernel, bias = (weights[f"outputs/{part}/ExponentialMovingAverage"] for part in ("kernel", "bias"))
    assert not np.allclose(kernel, weights["outputs/kernel"])
    logits = np.concatenate([np.zeros((13, 2)), rows(300, 13)[0]]) @ kernel + bias
    high, free = 1 / (1 + np.exp(-np.abs(logits[:, 1] - logits[:, 0]))), np.arange(313) >= 13
    expected = surest(logits.argmax(axis=1), high, 0.5, free, free)
    labelled = done.rounds[1]["labelled"]
    assert sorted(labelled["0"] + labelled["1"]) == expected.tolist()


def test_rounds_are_one_picture_and_a_folder_of_events_each(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    draw = pseudo_labels.draw_curves
    monkeypatch.setattr(pseudo_labels, "draw_curves", lambda *given: (drawn.append(given[2:]), draw(*given)))
    recording = Recording(tensorboard=tmp_path / "events", plot=tmp_path / "plot.png")
    done = train(recording=recording, options={"epochs": 2})
    ((histories, best),) = drawn
    assert [len(history) for history in histories] == [2, 2, 2] and best == done.kept
    assert sorted(path.name for path in (tmp_path / "events").iterdir()) == ["round 0", "round 1", "round 2"]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    asked = json.loads((tmp_path / "out.ckpt.run.json").read_text())["options"]
    assert (asked["plot"], asked["tensorboard"]) == (str(recording.plot), str(recording.tensorboard))


def test_a_teacher_is_refused_beside_pseudo_labels(train: Train, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="`teacher` and `pseudo_label` both say what rows are: leave one of them out"):
        train(options={"teacher": folder / "network.ckpt"})
    assert not list(tmp_path.iterdir())


class Notes(Callback):
    """Stores notices; ends the run in an epoch."""

    def __init__(self, last: int | None = None) -> None:
        self.said: list[str] = []
        self.interrupt, self.epochs, self.last = Interrupt(), 0, last

    def on_notes(self, notes: Any) -> None:
        self.said += notes

    def on_epoch_end(self, epoch: Any) -> None:
        self.epochs += 1
        if self.epochs == self.last:
            self.interrupt.request()


def test_a_model_that_is_sure_of_nothing_labels_nothing(train: Train, tmp_path: Path) -> None:
    notes = Notes()
    done = train("unsure.ckpt", pseudo={"sure": 0.9999}, callbacks=notes, options={"epochs": 1})
    assert len(done.rounds) == 1 and done.kept == 0 and "313 rows without labels, 13 of them are" in notes.said[0]
    expected = "round 1: no label has a probability of 0.9999 (`sure`), the surest has 0."
    assert notes.said[-1].startswith(expected) and notes.said[-1].endswith(": nothing is labelled")
    assert (tmp_path / "unsure.ckpt.index").exists()


def test_a_run_that_was_stopped_goes_on_to_the_same_result(train: Train, tmp_path: Path) -> None:
    short: dict[str, Any] = {"options": {"epochs": 3}}
    train("whole.ckpt", **short)
    notes = Notes(last=5)
    with pytest.raises(Interrupted):
        train("stopped.ckpt", callbacks=notes, interrupt=notes.interrupt, **short)
    assert not (tmp_path / "stopped.ckpt.index").exists()
    with pytest.raises(ExistingOutput, match=r"stopped\.ckpt\.rounds holds what a run has done: resume with `resume`"):
        train("stopped.ckpt", **short)
    with pytest.raises(PlanError, match=r"`resume`: .* is of a run with other options: rounds was 2, now 3"):
        train("stopped.ckpt", resume=True, pseudo={"rounds": 3}, **short)
    train("stopped.ckpt", resume=True, **short)
    whole, stopped = values(tmp_path / "whole.ckpt"), values(tmp_path / "stopped.ckpt")
    for name in whole:
        np.testing.assert_array_equal(stopped[name], whole[name])
    reports = [json.loads((tmp_path / f"{each}.ckpt.run.json").read_text()) for each in ("whole", "stopped")]
    assert [each["digest"] for each in reports[0]["pseudo_labels"][1:]] == [
        each["digest"] for each in reports[1]["pseudo_labels"][1:]
    ]


def test_one_output_is_a_class_or_not(train: Train, folder: Path, tmp_path: Path) -> None:
    """A sigmoid's labels are 0 and 1; the output is of the requested family."""
    new([2], "outputs = dense(1)", folder / "one.keras", recipe=Recipe(), seed=1, objective=Objective("sigmoid"))
    done = train("out.keras", "one.keras", pseudo={"rounds": 1, "share": 0.2}, options={"epochs": 2})
    assert done.rounds[1]["classes"].keys() == {"0", "1"} and 60 <= done.rounds[1]["rows"] <= 62
    import keras

    assert keras.models.load_model(tmp_path / "out.keras", compile=False).output_shape == (None, 1)


@pytest.mark.parametrize(
    ("pseudo", "message"),
    [
        ({"share": 0}, "`pseudo_label` must be a number above 0, at most 1, found 0"),
        ({"sure": 2}, "`sure` must be a number from 0 to 1, found 2"),
        ({"rounds": 0}, "`rounds` must be a whole number from 1 to 100, found 0"),
        ({"unlabelled": "nothing.npz"}, "nothing.npz: no such file"),
    ],
)
def test_what_makes_no_sense_is_refused(train: Train, pseudo: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(CkptError, match=message):
        train(pseudo=pseudo)
    assert not list(tmp_path.iterdir())


def test_numbers_are_no_classes(train: Train, folder: Path, tmp_path: Path) -> None:
    new(
        [2],
        "outputs = dense(1)",
        folder / "mse.ckpt",
        recipe=Recipe(),
        seed=1,
        objective=Objective("mse"),
        overwrite=True,
    )
    with pytest.raises(PlanError, match=r"mse\.ckpt: `pseudo_label` is for classification; the outputs are numbers"):
        train(model="mse.ckpt")
    np.savez(tmp_path / "wide.npz", x_train=np.zeros((20, 3), np.float32))
    with pytest.raises(DataError, match=r"wide\.npz: x_train"):
        train(pseudo={"unlabelled": tmp_path / "wide.npz"})
