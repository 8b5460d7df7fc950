"""Prediction: what a model's outputs mean for each row, written to a file while they are computed.

An `.npz` has an array for each thing predicted. A `.csv` has a header and a line for each row: its number, what was
predicted, and a column for each probability.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, PlanError, UnknownName
from ckpttool.core.names import listed, suggestion
from ckpttool.core.tensors import PIECE, Array
from ckpttool.data.class_files import Classes, class_names_of
from ckpttool.data.files import InMemory, Source
from ckpttool.executors.executor import Executor
from ckpttool.formats.wire.crc import extend
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.model.model import Model
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.evaluation_rows import Which
from ckpttool.training.predictor import Asked, Columns, Predictor, PredictorFactory
from ckpttool.training.worker_model import WorkerModel, as_items

Shapes = dict[str, tuple[int, ...]]

HEADINGS = {
    **{"rows": "row", "files": "file", "classes": "class", "names": "name", "labels": "label"},
    **{"probabilities": "probability", "outputs": "output"},
}
"""The columns of a `.csv` by the array that they hold; it leaves out logits, which its probabilities stand for."""


@dataclass(frozen=True)
class Prediction:
    """What was written: of how many rows, from which tensor and why from that, and the shape of each array by name."""

    output: Path
    rows: int
    tensor: str
    why: str
    arrays: Shapes
    classes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "output": str(self.output), "classes": list(self.classes)}


@accepts_watch
def predict(
    model: Model,
    data: Source,
    output: str | Path,
    split: str | None = None,
    valid: int | str | None = None,
    tensor: str | None = None,
    roles: Mapping[str, Any] | None = None,
    callbacks: Callbacks = (),
    features: str | None = None,
    overwrite: bool = False,
    group: str | None = None,
    seed: int | None = None,
    classes: Classes = None,
    preprocess: str | None = None,
    executor: Executor | None = None,
) -> Prediction:
    """Write what a model predicts for rows, which need no labels, to an `.npz` or a `.csv`.

    Of classes it is the likeliest and the probabilities, of labels those that hold and their probabilities, else the
    outputs as they are; `rows` numbers them. Without a loss that tells what the outputs are,
    they are what the signature gives, or the tensor that no other op reads. Where no split is named, these are the test
    rows, else the file's validation rows, else all.

    Args:
        model: The model, which is not changed.
        data: A path, or one of the other sources of rows.
        output: A file that ends in `.npz` or `.csv`.
        split: "train", "valid" or "test".
        valid: Which of the training rows were held out: 60, 20%, first:5000; what the model's run says if not given.
        group: The column of rows that were held out together.
        seed: The random seed of that draw.
        tensor: What to predict with instead.
        roles: Names of tensors by role, where they are not found in the graph.
        callbacks: One callback or several; they are passed the rows and what was done to them.
        features: What records hold, where they do not tell.
        classes: Names of the model's classes, or the file that has them; those that it has if not given.
        preprocess: What is done to rows first (`scale(1/127.5, -1)`), if not what the model keeps.
        overwrite: Whether an output that exists is replaced.
        executor: What computes the rows, if not this process: workers that open the model and the data themselves.

    Raises:
        GraphError: it is not known what to feed or what to predict, or that has no row for each row.
        DataError: the rows do not fit the graph, or there are not as many classes as outputs.
        ExistingOutput: the output is there already.
    """
    path = Path(output)
    check_output(path, overwrite)
    which = Which(split, valid, group, seed, judge=False)
    asked = _asked(data, which, tensor, roles, features, classes, preprocess)
    predictor, found = _computed(model, asked, callbacks, executor)
    shapes = write_predictions(path, found, overwrite, predictor.names)
    result = predictor.result
    return Prediction(path, predictor.rows.rows, result.tensor, result.why, shapes, predictor.names)


class Predicted(Mapping[str, Array]):
    """What was predicted, as arrays by name: `rows`, `classes`, `probabilities` and so on, of one row after the other.

    `tensor` is what it was predicted with and `why`; `class_names` are the classes by number, where they have names.
    """

    def __init__(self, arrays: Columns, tensor: str, why: str, class_names: tuple[str, ...]) -> None:
        """Take arrays of the same rows."""
        self._arrays, self.tensor, self.why, self.class_names = dict(arrays), tensor, why, class_names

    def __getitem__(self, name: str) -> Array:
        if name not in self._arrays:
            raise UnknownName(
                f"no {name} is predicted{suggestion(name, self._arrays)}; there are {listed(self._arrays)}"
            )
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        arrays = ", ".join(f"{name} {list(array.shape)}" for name, array in self.items())
        return f"<Predicted by {self.tensor}: {arrays}>"


def predicted(
    model: Model,
    data: Source,
    split: str | None = None,
    valid: int | str | None = None,
    tensor: str | None = None,
    roles: Mapping[str, Any] | None = None,
    callbacks: Callbacks = (),
    features: str | None = None,
    group: str | None = None,
    seed: int | None = None,
    classes: Classes = None,
    preprocess: str | None = None,
    executor: Executor | None = None,
) -> Predicted:
    """Return what `predict` would write, in memory.

    Raises:
        CkptError: as `predict`.
    """
    which = Which(split, valid, group, seed, judge=False)
    asked = _asked(data, which, tensor, roles, features, classes, preprocess)
    predictor, found = _computed(model, asked, callbacks, executor)
    parts = list(found)
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Predicted(arrays, predictor.result.tensor, predictor.result.why, predictor.names)


def _asked(
    data: Source,
    which: Which,
    tensor: str | None,
    roles: Mapping[str, Any] | None,
    features: str | None,
    classes: Classes,
    preprocess: str | None,
) -> Asked:
    """Return what is asked of a model, here or in a worker."""
    source, names = data if isinstance(data, InMemory) else str(data), class_names_of(classes)
    return Asked(source, which, tensor, as_items(roles or {}), features, tuple(names or ()), preprocess)


def _computed(
    model: Model, asked: Asked, callbacks: Callbacks, executor: Executor | None
) -> tuple[Predictor, Iterable[Columns]]:
    """Return what predicts, and what it predicts of some rows after the other."""
    callback, predictor = CallbackList(callbacks), asked.of(model)
    callback.on_notes([*predictor.notes, *(executor.notes if executor else ())])
    callback.on_data([predictor.rows])
    parts = predictor.stream.parts(predictor.arrays, predictor.rows.rows)
    if executor is None:
        return predictor, map(predictor.columns, parts)
    factory = PredictorFactory(WorkerModel.of(model, predictor.facts()), asked)
    return predictor, executor.map_in_order(factory, parts)


def check_output(path: Path, overwrite: bool) -> None:
    """Check that predictions can be written to a file.

    Raises:
        PlanError: it is named neither `.npz` nor `.csv`.
        ExistingOutput: it is there already.
    """
    if path.suffix not in _WRITERS:
        raise PlanError(f"{path}: expected a name that ends in {' or '.join(_WRITERS)}")
    refuse_existing([path], overwrite)


def write_predictions(path: Path, parts: Iterable[Columns], overwrite: bool, classes: Sequence[str] = ()) -> Shapes:
    """Write the rows of all parts in their order, and read back what was written; return the shape of each array.

    The columns of a `.csv` that are for a class each bear its name.

    Raises:
        PlanError: a `.csv` cannot hold the rows.
        CorruptCheckpoint: what was read back differs.
    """
    check_output(path, overwrite)
    return _WRITERS[path.suffix](path, parts, overwrite, classes)


class _Scratch:
    """Rows on disk in a file without a name, which is gone when this process is: a zip takes its arrays one by one."""

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
    """Return the text of some rows."""
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
