"""Prediction: what a model's outputs mean for each row, written to a file while they are computed, or in memory."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.errors import UnknownName
from ckpttool.core.names import listed, suggestion
from ckpttool.core.tensors import Array
from ckpttool.data.class_files import Classes, class_names_of
from ckpttool.data.files import InMemory, Source
from ckpttool.executors.executor import Executor
from ckpttool.model.model import Model
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.evaluation_rows import Which
from ckpttool.training.prediction_files import Shapes, check_output, write_predictions
from ckpttool.training.predictor import Asked, Columns, Predictor, PredictorFactory
from ckpttool.training.worker_model import WorkerModel, as_items


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
        ExistingOutput: the output exists.
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
