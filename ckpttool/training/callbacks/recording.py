"""What is recorded of a run: its history always, events for TensorBoard and a picture of its curves where asked for.

The history, `OUT.history.csv`, has a row per epoch, for whoever draws or compares runs.
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
"""How long a file serves: an epoch of cached features takes less time than writing it anew."""


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
            from ckpttool.training.callbacks.tensorboard import TensorBoard

            callbacks.append(TensorBoard(Path(self.tensorboard), overwrite, resume))
        if self.plot is not None:
            from ckpttool.training.callbacks.plot import Plot

            callbacks.append(Plot(Path(self.plot), Path(output).name, overwrite or resume))
        return callbacks

    def parts(
        self, names: Iterable[str], overwrite: bool, resume: bool
    ) -> "tuple[dict[str, Recording], Picture | None]":
        """Return what records each of several runs that make one, a folder of events each, and the picture of all.

        Raises:
            CkptError: as `of`, before the first of them.
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
    """Return where the history of a model lies: beside it."""
    return Path(f"{output}.history.csv")


def write_histories(output: str | Path, stages: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the epochs of several runs, as their reports have them, as one history: `stage` says which run."""
    names = ["stage", *(field.name for field in fields(Epoch))]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"stage": stage, **epoch} for stage, epochs in stages.items() for epoch in epochs)
    with replacing(history_path(output)) as file:
        file.write(text.getvalue().encode())


def _is_of_no_run(path: Path, output: str | Path) -> bool:
    """Say whether a history was left by a run that was killed before it wrote its report; another may begin then."""
    heading = ",".join(field.name for field in fields(Epoch))
    try:
        return not report_path(output).exists() and path.read_bytes().startswith(heading.encode())
    except OSError:
        return False


class HistoryFile(Callback):
    """Writes the file anew after an epoch, so that it is always whole; after quick ones about once a second."""

    def __init__(self, output: str | Path, overwrite: bool) -> None:
        """Check that it may be written.

        Raises:
            ExistingOutput: it is there already.
        """
        self._path = history_path(output)
        refuse_existing([self._path], overwrite or _is_of_no_run(self._path, output))
        refuse_unwritable(self._path)
        self._epochs: list[Epoch] = []
        self._written = -SECONDS

    def on_run_begin(self, history: Sequence[Epoch]) -> None:
        """Take the epochs before those of this process."""
        self._epochs = list(history)

    def on_epoch_end(self, epoch: Epoch) -> None:
        """Write all epochs; a kill leaves the file whole, a power cut may take it."""
        self._epochs.append(epoch)
        if time.monotonic() - self._written >= SECONDS:
            self._write(durable=False)
            self._written = time.monotonic()

    def on_run_end(self) -> None:
        """Put the file on the disk."""
        if self._epochs:
            self._write(durable=True)

    def _write(self, durable: bool) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(field.name for field in fields(Epoch))
        writer.writerows(map(astuple, self._epochs))
        with replacing(self._path, durable=durable) as file:
            file.write(text.getvalue().encode())
