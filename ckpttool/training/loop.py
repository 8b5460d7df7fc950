"""The loop of a run: epochs of steps, a score after each, saves on the way, until it is over or stopped."""

import time
from dataclasses import dataclass
from math import isfinite
from typing import NoReturn

from ckpttool.core.errors import Interrupted
from ckpttool.core.tensors import Array
from ckpttool.runtime.training import Steps
from ckpttool.training.callbacks.callback import Callback, Progress
from ckpttool.training.failure import explain, explain_score
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.run import Epoch, Position, best_of, is_over
from ckpttool.training.saves import Kept, Saves
from ckpttool.training.training import Training

FIRST_CALL = 20
"""Steps in the first call into TensorFlow, before it is known how long a step takes."""
CALL_SECONDS = 1.0
"""About how long a call may take: the progress bar moves, and a signal is heard, between calls."""
SNAPSHOT_SECONDS = 60.0
"""How long a snapshot of the variables serves, from which steps are repeated to see what went wrong."""


@dataclass(frozen=True)
class Snapshot:
    """The variables as they were before an epoch's batch, at a time."""

    position: Position
    values: dict[str, Array]
    time: float


class Loop:
    """Trains from a position on. What it keeps is at hand in `kept`, the stage that is under way in `training`."""

    def __init__(
        self,
        training: Training,
        position: Position,
        kept: Kept | None,
        saves: Saves,
        callback: Callback,
        interrupt: Interrupt,
    ) -> None:
        """Take the start of a run, or where it is to go on."""
        self.training, self.position, self.kept = training, position, kept
        self._saves, self._callback, self.interrupt = saves, callback, interrupt
        self._per_second: float | None = None

    @property
    def history(self) -> list[Epoch]:
        """The epochs that are done."""
        return self.position.history

    def run(self) -> Kept:
        """Train until the epochs are done, or early stopping ends them; return what is to be written.

        Raises:
            Interrupted: a signal came; the run is saved.
            CkptError: the loss is no number any more.
        """
        while not self._is_over():
            self.training = self.training.at(self.position.epoch)
            self.training.follow(self.history)
            self._epoch()
            self._pause()
        if self.kept is None:
            raise AssertionError("a run has at least one epoch")
        return self.kept

    def _epoch(self) -> None:
        """Take the steps of the epoch under way that are left, score the model, and keep it if it is to be kept."""
        position, training = self.position, self.training
        self._snapshot = self._take_snapshot()
        while position.batch < training.batches:
            self._steps()
            if position.batch < training.batches:
                self._pause()
        score = training.score()
        if not isfinite(score.loss):
            raise explain_score(training, position, score.loss, self._good())
        loss, rate = position.total / training.batches, training.learning_rate()
        figures = (loss, score.loss, score.accuracy, position.seconds)
        epoch = Epoch(position.epoch, *figures, step=position.step, learning_rate=rate)
        position.end_epoch(epoch)
        self._keep(epoch)
        self._callback.on_weights(epoch, training.state.read)
        self._callback.on_epoch_end(epoch)

    def _steps(self) -> None:
        """Take the steps of one call."""
        position = self.position
        if time.monotonic() - self._snapshot.time > SNAPSHOT_SECONDS:
            self._snapshot = self._take_snapshot()
        taken = self.training.take(position.epoch, position.batch, self._count(), position.step, position.total)
        if taken.failed:
            self._fail(taken)
        # the first call also traced the step, which says nothing of those that follow
        self._per_second = taken.count / taken.seconds if self._per_second else FIRST_CALL / CALL_SECONDS
        position.batch, position.step = position.batch + taken.count, position.step + taken.count
        position.total, position.seconds = taken.total, position.seconds + taken.seconds
        self._tell()

    def _count(self) -> int:
        """Return how many steps the next call takes."""
        count = FIRST_CALL if self._per_second is None else max(1, int(self._per_second * CALL_SECONDS))
        return min(count, self._saves.steps_left(self.position.step) or count)

    def _tell(self) -> None:
        position, training = self.position, self.training
        where = position.epoch, training.epochs, position.batch, training.batches
        loss, seconds = position.total / position.batch, position.seconds
        self._callback.on_progress(Progress(*where, loss, seconds, training.bounds[position.batch] / seconds))

    def _keep(self, epoch: Epoch) -> None:
        if self.training.options.keep == "last" or epoch is best_of(self.history):
            tensors = self.training.tensors(self.training.state.read())
            self.kept = Kept(epoch, self.training.graph, tensors, self.training.frozen.names)

    def _pause(self) -> None:
        """Between two calls: save where it is time to, and end where a signal came."""
        stopped = self.interrupt.number is not None and not self._is_over()
        if not stopped and not self._saves.due(self.position):
            return
        prefix = self._save(self.position, self.training.state.read())
        if stopped:
            again = f"{self._where()}, saved as {prefix}; the same command with --resume goes on"
            raise Interrupted(f"stopped {again}", self.interrupt.number or 0)

    def _is_over(self) -> bool:
        return is_over(self.history, self.training.epochs, self.training.options.early_stopping)

    def _where(self) -> str:
        position, batches = self.position, self.training.batches
        if position.batch == 0:
            return f"after epoch {position.epoch - 1}"
        return f"in epoch {position.epoch}, after {position.batch} of {batches} steps"

    def _save(self, position: Position, values: dict[str, Array]) -> str:
        prefix = self._saves.write(self.training.graph, self.training.tensors(values), position, self.kept)
        self._callback.on_save(prefix)
        return str(prefix)

    def _take_snapshot(self) -> Snapshot:
        return Snapshot(self.position.copy(), self.training.state.read(), time.monotonic())

    def _fail(self, taken: Steps) -> NoReturn:
        """Say where the loss became no number, what went first, and which weights are still good."""
        failed = self.position.batch + taken.count - 1
        since, values = self._snapshot.position, self._snapshot.values
        raise explain(self.training, since, values, failed, taken.total, self._good())

    def _good(self) -> str:
        """Return the prefix of the last weights that gave numbers: a save, which is made where there is none yet."""
        since, values = self._snapshot.position, self._snapshot.values
        return str(self._saves.last or (self._save(since, values) if since.step else self.training.model.path))
