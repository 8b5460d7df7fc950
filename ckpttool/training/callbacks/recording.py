"""What is recorded of a run: its history always, events for TensorBoard and a picture of its curves where asked for."""

from dataclasses import dataclass
from pathlib import Path

from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.callbacks.history import HistoryFile
from ckpttool.training.callbacks.plot import Plot
from ckpttool.training.callbacks.tensorboard import TensorBoard


@dataclass(frozen=True)
class Recording:
    """What is recorded besides the history: nothing of it changes the run."""

    tensorboard: str | Path | None = None
    plot: str | Path | None = None

    def of(self, output: str | Path, overwrite: bool, resume: bool) -> list[Callback]:
        """Return what records a run with its result under `output`; a run that goes on continues what is there.

        Raises:
            ExistingOutput: a file is there already, of another run.
            MissingDependency: a package is not installed.
            CkptError: a path is none that can be written.
        """
        callbacks: list[Callback] = [HistoryFile(output, overwrite or resume)]
        if self.tensorboard is not None:
            callbacks.append(TensorBoard(Path(self.tensorboard), overwrite, resume))
        if self.plot is not None:
            callbacks.append(Plot(Path(self.plot), Path(output).name, overwrite or resume))
        return callbacks
