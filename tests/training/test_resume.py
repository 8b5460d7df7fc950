"""Runs that are stopped and resumed: their numbers equal those of an uninterrupted run, to the last bit."""

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, Interrupted, PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training import loop
from ckpttool.training.callbacks.callback import Callback, Progress
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options
from ckpttool.training.run import Epoch, Run
from ckpttool.verbs.finetune import finetune

OPTIONS = Options(epochs=4, batch_size=20, recipe=Recipe("momentum", lr="0.05"), keep="best", valid="first:30")
STEPS = 4 * 13


class Killed(BaseException):
    """A kill, as seen in the process: nothing more runs."""


class Killer(Callback):
    """Kills the run, or requests its end, after a number of steps."""

    def __init__(self, after: int, act: Callable[[], None]) -> None:
        self._left, self._act = after, act

    def on_progress(self, progress: Progress) -> None:
        self._left -= 1
        if self._left == 0:
            self._act()


class Notes(Callback):
    """Stores notices for the user."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def on_notes(self, notes: Sequence[str]) -> None:
        self.notes += notes


def die() -> None:
    raise Killed


def stopping(after: int) -> dict[str, Any]:
    """Return a callback that ends a run after a number of steps, with its state saved."""
    interrupt = Interrupt()
    return {"interrupt": interrupt, "callbacks": Killer(after, lambda: interrupt.request(signal.SIGTERM))}


def dying(after: int) -> dict[str, Any]:
    """Return a callback that kills a run after a number of steps."""
    return {"callbacks": Killer(after, die)}


@pytest.fixture(autouse=True)
def single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step per call, so that a run can be killed after each."""
    monkeypatch.setattr(loop, "CALL_SECONDS", 1e-9)
    monkeypatch.setattr(loop, "FIRST_CALL", 1)


@pytest.fixture(scope="module")
def chancy(new_network: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with dropout, whose random masks must be resumed too."""
    network = new_network()
    tf, v1 = network.tf, network.v1
    with network.building():
        X, y, training = network.inputs()
        hidden = network.dense(network.dense(X, 16, "hidden1"), 8, "hidden2")
        dropped = v1.cond(training, lambda: tf.nn.dropout(hidden, 0.5), lambda: tf.identity(hidden))
        network.classify(network.dense(dropped, 3, "outputs", relu=False), y, v1.train.GradientDescentOptimizer(0.1))
    saved: Path = network.save(tmp_path_factory.mktemp("chancy") / "chancy.ckpt")
    return saved


def figures(run: Run) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in run.history]


def data_of(prefix: Path) -> bytes:
    """The content of all data files: after one bundle replaced another, some are empty."""
    return b"".join(path.read_bytes() for path in sorted(prefix.parent.glob(f"{prefix.name}.data-*")))


def assert_same(one: Path, other: Path) -> None:
    found, expected = checkpoint.open(one), checkpoint.open(other)
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name].read(), expected[name].read(), err_msg=name)
    assert data_of(one) == data_of(other)


@pytest.fixture(scope="module")
def whole(chancy: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """An uninterrupted run, and its output."""
    path = tmp_path_factory.mktemp("whole") / "whole.ckpt"
    return finetune(Model.open(chancy), data, OPTIONS, path), path


KILLED, INTERRUPTED = [1, 8, 14, STEPS - 1], [1, 13, 29, STEPS - 1]
"""Numbers of steps: before the first save and between others, at the end of an epoch and after it, before the end."""
QUICK = {"killed-1", "killed-14", "interrupted-29"}
"""Those that `make check` uses."""


@pytest.mark.parametrize(
    ("stop", "after"),
    [
        pytest.param(stop, after, id=f"{said}-{after}", marks=() if f"{said}-{after}" in QUICK else pytest.mark.slow)
        for stop, said, places in ((dying, "killed", KILLED), (stopping, "interrupted", INTERRUPTED))
        for after in places
    ],
)
def test_a_run_that_goes_on_equals_one_that_was_never_stopped(
    chancy: Path,
    data: Path,
    whole: tuple[Run, Path],
    tmp_path: Path,
    after: int,
    stop: Callable[[int], dict[str, Any]],
) -> None:
    expected, options = whole[0], replace(OPTIONS, save_every="3 steps", threads=None)
    with pytest.raises((Killed, Interrupted)):
        finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt", **stop(after))
    notes = Notes()
    again = finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt", callbacks=notes, resume=True)
    nothing = f"{tmp_path / 'out.ckpt.saves'}: nothing was saved yet: the run starts from the beginning"
    assert notes.notes == ([nothing] if after < 3 and stop is dying else [])
    assert figures(again) == figures(expected)
    assert (again.kept.epoch, again.best.epoch) == (expected.kept.epoch, expected.best.epoch)
    assert_same(tmp_path / "out.ckpt", whole[1])


@pytest.mark.parametrize(("times", "steps"), [(2, 20), pytest.param(5, 9, marks=pytest.mark.slow)])
def test_a_run_may_be_stopped_again_and_again(
    chancy: Path, data: Path, whole: tuple[Run, Path], tmp_path: Path, times: int, steps: int
) -> None:
    for attempt in range(times):
        with pytest.raises(Interrupted):
            finetune(Model.open(chancy), data, OPTIONS, tmp_path / "out.ckpt", resume=attempt > 0, **stopping(steps))
    again = finetune(Model.open(chancy), data, OPTIONS, tmp_path / "out.ckpt", resume=True)
    assert figures(again) == figures(whole[0])
    assert_same(tmp_path / "out.ckpt", whole[1])
    assert not (tmp_path / "out.ckpt.saves").exists()


CACHED = replace(OPTIONS, freeze="hidden1", cache=True)
STAGES = "outputs=1, hidden2=2, hidden1=1"
ON_PERFORMANCE = Recipe("adam", schedule="performance(0.5, 1)")
COSINE = Recipe("nesterov", lr="0.05", schedule="cosine()", warmup=5)
AVERAGED = Recipe("momentum(0.05)", l2_sp="0.1", ema=0.9, schedule="cosine()")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(CACHED, id="cached", marks=pytest.mark.slow),
        pytest.param(replace(OPTIONS, stages=STAGES), id="stages", marks=pytest.mark.slow),
        pytest.param(replace(OPTIONS, recipe=ON_PERFORMANCE), id="on performance", marks=pytest.mark.slow),
        pytest.param(replace(CACHED, recipe=ON_PERFORMANCE), id="cached, on performance"),
        pytest.param(replace(OPTIONS, recipe=COSINE), id="cosine", marks=pytest.mark.slow),
        pytest.param(replace(OPTIONS, recipe=AVERAGED, stages=STAGES), id="pulled and averaged"),
        pytest.param(
            replace(OPTIONS, recipe=Recipe("momentum(0.05)", lr="auto-rgn")), id="found rates", marks=pytest.mark.slow
        ),
        pytest.param(replace(OPTIONS, recipe=None, roles={"training_op": "train"}), id="own op"),
    ],
)
def test_all_that_a_run_knows_is_saved(chancy: Path, data: Path, tmp_path: Path, options: Options) -> None:
    options = replace(options, cache_dir=tmp_path / "cache")
    whole = finetune(Model.open(chancy), data, options, tmp_path / "whole.ckpt")
    with pytest.raises(Interrupted):
        finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt", **stopping(20))
    again = finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt", resume=True)
    assert figures(again) == figures(whole)
    assert_same(tmp_path / "out.ckpt", tmp_path / "whole.ckpt")


def test_a_teacher_teaches_on(chancy: Path, small: Path, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, teacher=small)
    whole = finetune(Model.open(chancy), data, options, tmp_path / "whole.ckpt")
    with pytest.raises(Interrupted):
        finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt", **stopping(20))
    with pytest.raises(PlanError, match=r"teacher was .*small\.ckpt, now .*teacher_logits was"):
        finetune(Model.open(chancy), data, replace(options, teacher=chancy), tmp_path / "out.ckpt", resume=True)
    again = finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt", resume=True)
    assert figures(again) == figures(whole)
    assert_same(tmp_path / "out.ckpt", tmp_path / "whole.ckpt")


def test_a_finished_run_may_be_made_longer(chancy: Path, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, save_every="1 epoch", keep="last")
    whole = finetune(Model.open(chancy), data, replace(options, epochs=6), tmp_path / "whole.ckpt")
    finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt")
    longer = replace(options, epochs=6)
    again = finetune(Model.open(chancy), data, longer, tmp_path / "out.ckpt", overwrite=True, resume=True)
    assert figures(again) == figures(whole)
    assert_same(tmp_path / "out.ckpt", tmp_path / "whole.ckpt")


def test_as_many_saves_are_kept_as_were_asked_for(chancy: Path, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, save_every="5 steps", keep_checkpoints=2, keep="last")
    finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt")
    found = sorted(path.name for path in (tmp_path / "out.ckpt.saves").glob("*.json"))
    assert found == ["step-00000045.state.json", "step-00000050.state.json"]
    for state in found:
        checkpoint.open(tmp_path / "out.ckpt.saves" / state.replace(".state.json", ".ckpt"))


def test_what_a_run_went_on_from_is_forgotten_with_the_others(chancy: Path, data: Path, tmp_path: Path) -> None:
    options = replace(OPTIONS, save_every="5 steps", keep_checkpoints=1, epochs=2)
    with pytest.raises(Killed):
        finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt", **dying(11))
    finetune(Model.open(chancy), data, options, tmp_path / "out.ckpt", resume=True)
    assert [path.name for path in (tmp_path / "out.ckpt.saves").glob("*.json")] == ["step-00000025.state.json"]


def test_another_run_is_not_gone_on_with(chancy: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        finetune(Model.open(chancy), data, OPTIONS, tmp_path / "out.ckpt", **stopping(5))
    other = replace(OPTIONS, recipe=Recipe("momentum", lr="0.1"), seed=7)
    with pytest.raises(PlanError, match=r"with other options: seed was 42, now 7, lr was 0.05, now 0.1"):
        finetune(Model.open(chancy), data, other, tmp_path / "out.ckpt", resume=True)


@pytest.mark.parametrize("text", ["often", "steps", "0 steps", "3 hours", "-1 epochs"])
def test_how_often_must_be_readable(chancy: Path, data: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(PlanError, match="expected such as '500 steps', '1 epoch' or '10 min'"):
        finetune(Model.open(chancy), data, replace(OPTIONS, save_every=text), tmp_path / "out.ckpt")


def test_a_damaged_state_is_named(chancy: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        finetune(Model.open(chancy), data, OPTIONS, tmp_path / "out.ckpt", **stopping(5))
    state = next((tmp_path / "out.ckpt.saves").glob("*.json"))
    state.write_bytes(state.read_bytes()[:50])
    with pytest.raises(CkptError, match=rf"{state.name} is damaged: .* delete it to resume from an older save"):
        finetune(Model.open(chancy), data, OPTIONS, tmp_path / "out.ckpt", resume=True)


def test_a_run_takes_over_no_signals(chancy: Path, data: Path, tmp_path: Path) -> None:
    handlers: list[Any] = []
    killer = Killer(2, lambda: handlers.extend(signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)))
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    finetune(Model.open(chancy), data, replace(OPTIONS, epochs=1), tmp_path / "out.ckpt", callbacks=killer)
    assert handlers == before


def test_the_signal_that_was_requested_is_told(chancy: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as stopped:
        finetune(Model.open(chancy), data, OPTIONS, tmp_path / "out.ckpt", **stopping(14))
    saved = tmp_path / "out.ckpt.saves" / "step-00000014.ckpt"
    assert stopped.value.number == signal.SIGTERM
    expected = f"stopped in epoch 2, after 1 of 13 steps, saved as {saved}; the same command with `resume` resumes"
    assert str(stopped.value) == expected
