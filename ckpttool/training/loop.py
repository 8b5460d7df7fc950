"""The training loop: epochs of steps, a validation score after each, periodic saves, until the end or an interrupt."""

import time
from math import isfinite

from ckpttool.core.errors import Interrupted
from ckpttool.core.tensors import Array
from ckpttool.training.callbacks.callback import Callback, Progress
from ckpttool.training.failure import explain, explain_score
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.run import Epoch, Position, best_of, is_over
from ckpttool.training.saves import KeptWeights, Saves
from ckpttool.training.trainer import Trainer

FIRST_CALL = 20
"""Number of steps in the first call into TensorFlow, before the time of a step is known."""
CALL_SECONDS = 1.0
"""Target seconds per call: progress is reported and interrupts are handled between calls."""
SNAPSHOT_SECONDS = 60.0
"""Seconds for which a snapshot of the variables is kept, from which steps are repeated to explain a failure."""


class Loop:
    """Trains from a position on. `kept` are the weights that would be written now, `training` is the current stage."""

    def __init__(
        self,
        training: Trainer,
        position: Position,
        kept: KeptWeights | None,
        saves: Saves,
        callback: Callback,
        interrupt: Interrupt,
    ) -> None:
        """Initialise from the start of a run, or from the position where it resumes."""
        self.training, self.position, self.kept = training, position, kept
        self._saves, self._callback, self._interrupt = saves, callback, interrupt
        self._per_second: float | None = None

    @property
    def history(self) -> list[Epoch]:
        """The epochs that are done."""
        return self.position.history

    def run(self) -> KeptWeights:
        """Train until the epochs are done or early stopping ends them; return the weights to write.

        Raises:
            Interrupted: an interrupt was requested; the run is saved.
            CkptError: the loss became non-finite.
        """
        with self._interrupt:
            while not self._is_over():
                self.training = self.training.at(self.position.epoch)
                self.training.follow(self.history)
                self._snapshot()
                while self.position.batch < self.training.batches:
                    self._take_steps()
                    if self.position.batch < self.training.batches:
                        self._save_or_stop()
                self._end_epoch()
                self._save_or_stop()
        if self.kept is None:
            raise AssertionError("a run has at least one epoch")
        return self.kept

    def _is_over(self) -> bool:
        return is_over(self.history, self.training.epochs, self.training.options.early_stopping)

    def _snapshot(self) -> None:
        """Copy the variables' values at this position."""
        self._since, self._values = self.position.copy(), self.training.state.read()
        self._snapshot_time = time.monotonic()

    def _take_steps(self) -> None:
        """Run the steps of one call: as many as take about a second, and at most up to the next save.

        Raises:
            CkptError: the loss became non-finite; it names the step, the first layer, and the last good weights.
        """
        position, training = self.position, self.training
        if time.monotonic() - self._snapshot_time > SNAPSHOT_SECONDS:
            self._snapshot()
        count = FIRST_CALL if self._per_second is None else max(1, int(self._per_second * CALL_SECONDS))
        count = min(count, self._saves.steps_left(position.step) or count)
        taken = training.take(position.epoch, position.batch, count, position.step, position.total)
        if taken.failed:
            failed = position.batch + taken.count - 1
            raise explain(training, self._since, self._values, failed, taken.total, self._last_good())
        # the first call includes tracing, so it is not representative
        self._per_second = taken.count / taken.seconds if self._per_second else FIRST_CALL / CALL_SECONDS
        position.batch, position.step = position.batch + taken.count, position.step + taken.count
        position.total, position.seconds = taken.total, position.seconds + taken.seconds
        loss, speed = position.total / position.batch, training.bounds[position.batch] / position.seconds
        where = position.epoch, training.epochs, position.batch, training.batches
        self._callback.on_progress(Progress(*where, loss, position.seconds, speed))

    def _end_epoch(self) -> None:
        """Validate the model after an epoch's last step, and keep its weights if they are the best or the last.

        Raises:
            CkptError: the validation loss is non-finite.
        """
        position, training = self.position, self.training
        score = training.score()
        if not isfinite(score.loss):
            raise explain_score(training, position, score.loss, self._last_good())
        loss, rate = position.total / training.batches, training.learning_rate()
        figures = (loss, score.loss, score.accuracy, position.seconds)
        epoch = Epoch(position.epoch, *figures, step=position.step, learning_rate=rate)
        position.end_epoch(epoch)
        if training.options.keep == "last" or epoch is best_of(self.history):
            self.kept = KeptWeights(
                epoch, training.graph, training.tensors(training.state.read()), training.frozen.names
            )
        self._callback.on_weights(epoch, training.state.read)
        self._callback.on_epoch_end(epoch)

    def _save_or_stop(self) -> None:
        """Save between two calls if a save is due; if the run is interrupted, save and end it."""
        position = self.position
        number = None if self._is_over() else self._interrupt.number
        if number is None and not self._saves.due(position):
            return
        prefix = self._save(position, self.training.state.read())
        if number is not None:
            where = f"after epoch {position.epoch - 1}"
            if position.batch:
                where = f"in epoch {position.epoch}, after {position.batch} of {self.training.batches} steps"
            raise Interrupted(f"stopped {where}, saved as {prefix}; the same command with `resume` resumes", number)

    def _save(self, position: Position, values: dict[str, Array]) -> str:
        prefix = self._saves.write(self.training.graph, self.training.tensors(values), position, self.kept)
        self._callback.on_save(prefix)
        return str(prefix)

    def _last_good(self) -> str:
        """Return the prefix of the last weights with a finite loss: the last save, or one made from the snapshot."""
        if self._saves.last is not None:
            return str(self._saves.last)
        return self._save(self._since, self._values) if self._since.step else str(self.training.source.model.path)
