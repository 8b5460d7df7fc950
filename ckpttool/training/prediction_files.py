"""Prediction files, written while the predictions are computed.

An `.npz` has an array per column. A `.csv` has a header and a line per row: its index, the prediction, and a column per
probability.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, PlanError
from ckpttool.core.tensors import PIECE, Array
from ckpttool.formats.wire.crc import extend
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.training.predictor import Columns

Shapes = dict[str, tuple[int, ...]]

HEADINGS = {
    **{"rows": "row", "files": "file", "classes": "class", "names": "name", "labels": "label"},
    **{"probabilities": "probability", "outputs": "output"},
}
"""The columns of a `.csv` by array; logits are omitted, since the probabilities are there."""


def check_output(path: Path, overwrite: bool) -> None:
    """Check that predictions can be written to a file.

    Raises:
        PlanError: its name ends in neither `.npz` nor `.csv`.
        ExistingOutput: it exists.
    """
    if path.suffix not in _WRITERS:
        raise PlanError(f"{path}: expected a name that ends in {' or '.join(_WRITERS)}")
    refuse_existing([path], overwrite)


def write_predictions(path: Path, parts: Iterable[Columns], overwrite: bool, classes: Sequence[str] = ()) -> Shapes:
    """Write the rows of all parts in order, read the file back, and return the shape of each array.

    Columns of a `.csv` that belong to a class have its name.

    Raises:
        PlanError: the rows cannot be written to a `.csv`.
        CorruptCheckpoint: the file differs from what was written.
    """
    check_output(path, overwrite)
    return _WRITERS[path.suffix](path, parts, overwrite, classes)


class _Scratch:
    """Rows in an unnamed temporary file that vanishes with the process: a zip is written one array at a time."""

    def __init__(self, file: IO[bytes], rows: Array) -> None:
        self._file, self._row, self._dtype, self._count = file, rows.shape[1:], rows.dtype, 0

    def append(self, rows: Array) -> None:
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._count += len(rows)

    def array(self) -> Array:
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r", shape=(self._count, *self._row))


def _write_npz(path: Path, parts: Iterable[Columns], overwrite: bool, _classes: Sequence[str]) -> Shapes:
    scratch: dict[str, _Scratch] = {}
    with ExitStack() as files:
        for part in parts:
            for name, rows in part.items():
                if name not in scratch:
                    scratch[name] = _Scratch(files.enter_context(TemporaryFile(dir=path.parent)), rows)
                scratch[name].append(rows)
        arrays = {name: each.array() for name, each in scratch.items()}
        checkpoint.save(arrays, path, format="npz", overwrite=overwrite)
    return {name: array.shape for name, array in arrays.items()}


def _write_csv(path: Path, parts: Iterable[Columns], overwrite: bool, classes: Sequence[str]) -> Shapes:
    shapes: Shapes = {}
    crc = 0

    def check(written: Path) -> None:
        if _crc_of(written) != crc:
            raise CorruptCheckpoint(f"{path}: what was read back is not what was written")

    with replacing(path, check) as file:
        for part in parts:
            columns = {name: rows for name, rows in part.items() if name in HEADINGS}
            text = _lines(path, columns, classes, heading=not shapes)
            crc = extend(crc, text)
            file.write(text)
            shapes = {name: (shapes.get(name, (0,))[0] + len(rows), *rows.shape[1:]) for name, rows in columns.items()}
    return shapes


def _lines(path: Path, columns: Columns, classes: Sequence[str], heading: bool) -> bytes:
    """Return some rows as lines of text."""
    fields: dict[str, Any] = {}
    for name, rows in columns.items():
        if rows.ndim > 2:
            raise PlanError(
                f"{path}: {name} of {list(rows.shape[1:])} for a row do not fit into a .csv, an .npz has them"
            )
        each = [rows] if rows.ndim == 1 else list(rows.T)
        places = classes if len(classes) == len(each) else range(len(each))
        names = [HEADINGS[name]] if rows.ndim == 1 else [f"{HEADINGS[name]}_{place}" for place in places]
        fields |= dict(zip(names, (values.astype(str) for values in each), strict=True))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([list(fields)] if heading else [])
    writer.writerows(zip(*fields.values(), strict=True))
    return text.getvalue().encode()


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            crc = extend(crc, piece)
    return crc


_WRITERS = {".npz": _write_npz, ".csv": _write_csv}
