"""The history file, `OUT.history.csv`: a row per epoch, for whoever draws or compares runs."""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from ckpttool.formats.writing.files import refuse_existing, refuse_unwritable, replacing
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.run import Epoch

SECONDS = 1.0
"""How long a file serves: an epoch of cached features takes less time than writing it anew."""


def history_path(output: str | Path) -> Path:
    """Return where the history of a model lies: beside it."""
    return Path(f"{output}.history.csv")


class HistoryFile(Callback):
    """Writes the file anew after an epoch, so that it is always whole; after quick ones about once a second."""

    def __init__(self, output: str | Path, overwrite: bool) -> None:
        """Check that it may be written.

        Raises:
            ExistingOutput: it is there already.
        """
        self._path = history_path(output)
        refuse_existing([self._path], overwrite)
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
