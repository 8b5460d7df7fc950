"""Records of pretraining: one history, a folder of events for each stage, and a picture of all."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import ExistingOutput
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.training import pretraining_record
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.options import Options
from ckpttool.verbs.pretrain import Pretrained, pretrain

OPTIONS = Options(epochs=2, batch_size=20, keep="last", valid="first:20")
LAYERS = "hidden1 = dense(5, tanh); hidden2 = dense(3, tanh)"
IMAGES = "conv1 = conv2d(3, 3, relu); flat = flatten(); hidden = dense(4, tanh)"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Pretrained]:
    """Pretrain on random rows of a shape."""

    def run(layers: str = LAYERS, text: str = "autoencoder", shape: tuple[int, ...] = (6,), **more: Any) -> Pretrained:
        rows = np.random.default_rng(0).random((60, *shape)).astype(np.float32)
        np.savez(tmp_path / "rows.npz", x_train=rows, y_train=np.arange(60) % 2)
        method = PretrainingMethod.read(text, "`method`")
        options = replace(OPTIONS, cache_dir=tmp_path / "cache", image_shape=more.pop("image_shape", None))
        return pretrain(tmp_path / "rows.npz", layers, method, tmp_path / "out.ckpt", options, shape=shape, **more)

    return run


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Store the rows of each picture in addition to drawing it."""
    kept: list[dict[str, Any]] = []
    draw = pretraining_record.draw_pretraining

    def keep(picture: Any, title: Any, method: Any, reports: Any, rows: Any, images: Any) -> None:
        kept.append({**rows, "images": images})
        draw(picture, title, method, reports, rows, images)

    monkeypatch.setattr(pretraining_record, "draw_pretraining", keep)
    return kept


def test_all_stages_have_one_history_and_folders_of_events(run: Callable[..., Pretrained], tmp_path: Path) -> None:
    done = run(recording=Recording(tensorboard=tmp_path / "events"))
    with (tmp_path / "out.ckpt.history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["stage"], row["epoch"]) for row in rows] == [
        ("hidden1", "1"),
        ("hidden1", "2"),
        ("hidden2", "1"),
        ("hidden2", "2"),
    ]
    assert float(rows[3]["loss"]) == done.stages[1]["history"][1]["loss"]
    assert all(list((tmp_path / "events" / name).glob("events*")) for name in ("hidden1", "hidden2"))
    for path in tmp_path.glob("out.ckpt*"):
        path.unlink()
    with pytest.raises(ExistingOutput, match="events"):
        run(recording=Recording(tensorboard=tmp_path / "events"))
    assert not list(tmp_path.glob("out.ckpt*"))


def test_rows_are_made_again_through_all_decoders(
    run: Callable[..., Pretrained], drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    """From the deeper layer the error in the rows is larger; that of the first is its validation loss."""
    done = run(recording=Recording(plot=tmp_path / "plot.png"))
    (shown,) = drawn
    given = np.load(tmp_path / "rows.npz")["x_train"][:20]
    assert list(shown) == ["as given", "from hidden1", "from hidden2", "images"] and shown["images"] is None
    np.testing.assert_array_equal(shown["as given"], given[:10])
    assert shown["from hidden2"].shape == (10, 6)
    error = np.mean((shown["from hidden1"] - given[:10]) ** 2)
    assert error == pytest.approx(done.stages[0]["history"][-1]["valid_loss"], rel=0.3)  # which has twice the rows
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_images_are_made_again_through_a_flattening(
    run: Callable[..., Pretrained], drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    run(IMAGES, shape=(6, 6, 1), recording=Recording(plot=tmp_path / "plot.svg"))
    (shown,) = drawn
    assert list(shown) == ["as given", "from conv1", "from hidden", "images"] and shown["images"] == (6, 6, 1)
    assert shown["from hidden"].shape == (10, 6, 6, 1)


def test_nothing_leads_back_through_a_pooling(
    run: Callable[..., Pretrained], drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    layers = "conv1 = conv2d(3, 3, relu); pool = max_pool(); conv2 = conv2d(2, 2)"
    run(layers, shape=(6, 6, 1), recording=Recording(plot=tmp_path / "plot.png"))
    assert list(drawn[0]) == ["as given", "from conv1", "images"]


def test_a_machine_makes_the_mean_of_its_visible_units(
    run: Callable[..., Pretrained], drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    run("hidden1 = dense(5, sigmoid)", "rbm", recording=Recording(plot=tmp_path / "plot.png"))
    made = drawn[0]["from hidden1"]
    assert 0 < made.min() < made.max() < 1


def test_methods_that_make_nothing_again_have_their_curves_alone(
    run: Callable[..., Pretrained], drawn: list[dict[str, Any]], tmp_path: Path
) -> None:
    run(text="pairs", recording=Recording(plot=tmp_path / "plot.png"))
    assert drawn == [{"images": None}] and (tmp_path / "plot.png").exists()
    for path in tmp_path.glob("out.ckpt*"):
        path.unlink()
    with pytest.raises(ExistingOutput, match=r"plot\.png"):
        run(text="pairs", recording=Recording(plot=tmp_path / "plot.png"))
