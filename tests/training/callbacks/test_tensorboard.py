"""Events for TensorBoard, read by its own reader; no step is repeated, however often a run was interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, ExistingOutput
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.options import Options
from ckpttool.training.run import Run
from ckpttool.verbs.finetune import finetune

TRAINED = ["hidden2/bias", "hidden2/kernel", "outputs/bias", "outputs/kernel"]


def reader(folder: Path) -> Any:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0}).Reload()


def curve(found: Any, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(tag)]


def figures(run: Run, name: str) -> list[tuple[int, float]]:
    return [(epoch.step, float(np.float32(getattr(epoch, name)))) for epoch in run.history]


def test_figures_histograms_and_the_graph(train: Callable[..., Run], tmp_path: Path) -> None:
    run = train(Recording(tensorboard=tmp_path / "events"), keep="last")
    found = reader(tmp_path / "events")
    tags = found.Tags()
    assert sorted(tags["scalars"]) == ["learning_rate", "loss", "valid_accuracy", "valid_loss"]
    for name in tags["scalars"]:
        assert curve(found, name) == figures(run, name)
    assert [epoch.step for epoch in run.history] == [8, 16, 24, 32]
    assert sorted(tags["histograms"]) == TRAINED
    for name in TRAINED:
        drawn = found.Histograms(name)
        assert [event.step for event in drawn] == [8, 16, 24, 32]
        written, last = checkpoint.open(tmp_path / "out.ckpt")[name].read(), drawn[-1].histogram_value
        assert (last.min, last.max, last.num) == (written.min(), written.max(), written.size)
    assert {"X", "hidden1/kernel", "Momentum"} <= {node.name for node in found.Graph().node}


def test_a_run_that_goes_on_goes_on_here_too(train: Callable[..., Run], stopped: Any, tmp_path: Path) -> None:
    recording = Recording(tensorboard=tmp_path / "events")
    stopped(recording)
    assert [step for step, _ in curve(reader(tmp_path / "events"), "loss")] == [8, 16]
    run = train(recording, resume=True, save_every="5 steps")
    found = reader(tmp_path / "events")
    assert curve(found, "valid_loss") == figures(run, "valid_loss")
    assert [event.step for event in found.Histograms("outputs/kernel")] == [8, 16, 24, 32]


def test_a_step_that_was_logged_after_the_latest_save_is_not_logged_again(
    train: Callable[..., Run], stopped: Any, tmp_path: Path
) -> None:
    recording = Recording(tensorboard=tmp_path / "events")
    stopped(recording)
    for state in sorted((tmp_path / "out.ckpt.saves").glob("*.state.json"))[1:]:
        state.unlink()
    run = train(recording, resume=True, save_every="5 steps")
    assert curve(reader(tmp_path / "events"), "loss") == figures(run, "loss")


def test_figures_from_before_the_events_were_asked_for(train: Callable[..., Run], stopped: Any, tmp_path: Path) -> None:
    stopped()
    run = train(Recording(tensorboard=tmp_path / "events"), resume=True, save_every="5 steps")
    found = reader(tmp_path / "events")
    assert curve(found, "loss") == figures(run, "loss")
    steps = [event.step for event in found.Histograms("outputs/kernel")]
    assert steps in ([16, 24, 32], [24, 32])  # after a kill the run resumes from the latest save, in the second epoch


def test_each_stage_has_histograms_of_what_it_trains(train: Callable[..., Run], tmp_path: Path) -> None:
    train(Recording(tensorboard=tmp_path / "events"), freeze=None, stages="outputs=1, hidden2=2")
    found = reader(tmp_path / "events")
    assert [event.step for event in found.Histograms("outputs/kernel")] == [8, 16, 24]
    assert [event.step for event in found.Histograms("hidden2/kernel")] == [16, 24]


def test_partitioned_variables_have_one_histogram(new_network: Any, data: Path, tmp_path: Path) -> None:
    network = new_network()
    with network.building():
        X, y, _ = network.inputs()
        with network.v1.variable_scope("outputs", partitioner=network.v1.fixed_size_partitioner(2)):
            kernel = network.v1.get_variable("kernel", [4, 3])
        network.classify(network.tf.matmul(X, network.tf.convert_to_tensor(kernel)), y)
    model, recording = Model.open(network.save(tmp_path / "parts.ckpt")), Recording(tensorboard=tmp_path / "events")
    finetune(model, data, Options(epochs=1, recipe=Recipe(lr="0.1")), tmp_path / "out.ckpt", recording=recording)
    found = reader(tmp_path / "events")
    assert found.Tags()["histograms"] == ["outputs/kernel"]
    assert found.Histograms("outputs/kernel")[0].histogram_value.num == 12


def test_a_folder_holds_one_run(train: Callable[..., Run], tmp_path: Path) -> None:
    recording = Recording(tensorboard=tmp_path / "events")
    train(recording, epochs=1)
    for path in tmp_path.glob("out.ckpt.*"):
        path.unlink()
    (tmp_path / "events" / "mine.txt").write_text("mine")
    with pytest.raises(ExistingOutput, match=r"events has the events of a run: name another folder"):
        train(recording)
    assert [path.name for path in tmp_path.iterdir()] == ["events"]
    run = train(recording, overwrite=True, epochs=2)
    assert curve(reader(tmp_path / "events"), "loss") == figures(run, "loss")
    assert (tmp_path / "events" / "mine.txt").read_text() == "mine"


def test_a_file_is_no_folder(train: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "events").write_text("mine")
    with pytest.raises(CkptError, match=r"events is a file, expected a folder for event files"):
        train(Recording(tensorboard=tmp_path / "events"), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["events"]
