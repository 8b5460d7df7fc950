"""Interrupted runs, to be resumed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import Interrupted
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.training import loop
from ckpttool.training.callbacks.callback import Callback, Progress
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options
from ckpttool.training.run import Run
from ckpttool.verbs.finetune import finetune

OPTIONS = Options(
    epochs=4, batch_size=30, recipe=Recipe("momentum", lr="0.05"), valid=60, freeze="hidden1", threads=None
)


class Killed(BaseException):
    """A kill, as seen in the process."""


class Killer(Callback):
    """Kills a run, or requests its end, in one of its steps."""

    def __init__(self, step: int, how: str) -> None:
        self._left, self._how = step, how
        self.interrupt = Interrupt()

    def on_progress(self, progress: Progress) -> None:
        self._left -= 1
        if self._left == 0 and self._how == "kill":
            raise Killed
        if self._left == 0:
            self.interrupt.request()


@pytest.fixture
def train(model: Model, data: Path, tmp_path: Path) -> Callable[..., Run]:
    """Train for four epochs of eight steps, to `out.ckpt`."""

    def run(recording: Recording | None = None, resume: bool = False, **more: Any) -> Run:
        names = ("overwrite", "callbacks", "interrupt")
        how = {"recording": recording, "resume": resume, **{name: more.pop(name) for name in names if name in more}}
        return finetune(model, data, replace(OPTIONS, **more), tmp_path / "out.ckpt", **how)

    return run


@pytest.fixture(params=["kill", pytest.param("interrupt", marks=pytest.mark.slow)])
def stopped(request: pytest.FixtureRequest, train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Start such a run, which saves itself every 5 steps, and stop it in its third epoch: after 20 of 32 steps."""
    monkeypatch.setattr(loop, "CALL_SECONDS", 1e-9)
    monkeypatch.setattr(loop, "FIRST_CALL", 1)

    def stop(recording: Recording | None = None) -> None:
        killer = Killer(20, request.param)
        with pytest.raises((Killed, Interrupted)):
            train(recording, save_every="5 steps", callbacks=killer, interrupt=killer.interrupt)

    return stop
