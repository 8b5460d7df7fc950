"""Records of a run: its history, and on request TensorBoard events and a figure of its curves.

The history, `OUT.history.csv`, has a row per epoch, for plotting and comparing runs.
"""

import csv
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpttool.formats.writing.files import refuse_existing, refuse_unwritable, replacing
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.run import Epoch
from ckpttool.training.run_report import report_path

if TYPE_CHECKING:
    from ckpttool.training.callbacks.plot import Picture

SECONDS = 1.0
"""Minimum seconds between writes: an epoch on cached features takes less time than writing the file."""


@dataclass(frozen=True)
class Recording:
    """The optional records, which do not change the run."""

    tensorboard: str | Path | None = None
    plot: str | Path | None = None

    def of(self, output: str | Path, overwrite: bool, resume: bool) -> list[Callback]:
        """Return the callbacks that record a run with this output; a resumed run appends to its records.

        Raises:
            ExistingOutput: a file of another run exists.
            MissingDependency: a package is not installed.
            CkptError: a path cannot be written.
        """
        callbacks: list[Callback] = [HistoryFile(output, overwrite or resume)]
        if self.tensorboard is not None:
            from ckpttool.training.callbacks.tensorboard import TensorBoard

            callbacks.append(TensorBoard(Path(self.tensorboard), overwrite, resume))
        if self.plot is not None:
            from ckpttool.training.callbacks.plot import Plot

            callbacks.append(Plot(Path(self.plot), Path(output).name, overwrite or resume))
        return callbacks

    def parts(
        self, names: Iterable[str], overwrite: bool, resume: bool
    ) -> "tuple[dict[str, Recording], Picture | None]":
        """Return the callbacks of several runs that form one, a folder of events for each, and a common figure.

        Raises:
            CkptError: as for `of`, before the first of them.
        """
        picture = None
        if self.plot is not None:
            from ckpttool.training.callbacks.plot import Picture

            picture = Picture(Path(self.plot), overwrite or resume)
        if self.tensorboard is None:
            return {name: Recording() for name in names}, picture
        from ckpttool.training.callbacks.tensorboard import TensorBoard

        folders = {name: Path(self.tensorboard, name) for name in names}
        for folder in folders.values():
            TensorBoard(folder, overwrite, resume)
        return {name: Recording(tensorboard=folder) for name, folder in folders.items()}, picture


def history_path(output: str | Path) -> Path:
    """Return the path of a model's history, beside the model."""
    return Path(f"{output}.history.csv")


def write_history(output: str | Path, epochs: Sequence[Epoch], durable: bool = True) -> None:
    """Write the history of a run; with `durable` it is synced to disk."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Epoch))
    writer.writerows(map(astuple, epochs))
    with replacing(history_path(output), durable=durable) as file:
        file.write(text.getvalue().encode())


def write_histories(output: str | Path, stages: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the epochs of several runs from their reports as one history; column `stage` is the run."""
    names = ["stage", *(field.name for field in fields(Epoch))]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"stage": stage, **epoch} for stage, epochs in stages.items() for epoch in epochs)
    with replacing(history_path(output)) as file:
        file.write(text.getvalue().encode())


def _is_of_no_run(path: Path, output: str | Path) -> bool:
    """Return whether a history is from a run that was killed before it wrote its report, so that it may be replaced."""
    heading = ",".join(field.name for field in fields(Epoch))
    try:
        return not report_path(output).exists() and path.read_bytes().startswith(heading.encode())
    except OSError:
        return False


class HistoryFile(Callback):
    """Rewrites the history after each epoch, but at most once per second, so that the file is always complete."""

    def __init__(self, output: str | Path, overwrite: bool) -> None:
        """Check that it can be written.

        Raises:
            ExistingOutput: it exists.
        """
        self._output, path = output, history_path(output)
        refuse_existing([path], overwrite or _is_of_no_run(path, output))
        refuse_unwritable(path)
        self._epochs: list[Epoch] = []
        self._written = -SECONDS

    def on_run_begin(self, history: Sequence[Epoch]) -> None:
        """Start with the epochs of earlier processes."""
        self._epochs = list(history)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Write all epochs; the file survives a kill, but maybe not a power failure."""
        self._epochs.append(epoch)
        if time.monotonic() - self._written >= SECONDS:
            write_history(self._output, self._epochs, durable=False)
            self._written = time.monotonic()

    def on_run_end(self) -> None:
        """Write the file and sync it to disk, for a run that was stopped or failed."""
        if self._epochs:
            write_history(self._output, self._epochs)
