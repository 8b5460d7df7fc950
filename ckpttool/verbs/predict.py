"""Prediction: a model's outputs for rows and their meaning, written to a file while they are computed, or in memory."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.errors import UnknownName
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array
from ckpttool.data.class_files import Classes, class_names_of
from ckpttool.data.files import InMemory, Source
from ckpttool.executors.executor import Executor
from ckpttool.model.model import Model
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.evaluation_rows import Which
from ckpttool.training.prediction_files import Shapes, check_output, write_predictions
from ckpttool.training.predictor import Columns, PredictionRequest, Predictor, PredictorFactory
from ckpttool.training.worker_model import WorkerModel, as_items


@dataclass(frozen=True)
class Prediction:
    """What was written: the number of rows, the tensor and why it was chosen, and the shape of each array by name."""

    output: Path
    rows: int
    tensor: str
    why: str
    arrays: Shapes
    classes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "output": str(self.output), "classes": list(self.classes)}


@accepts_watch
def predict(
    model: Model,
    data: Source,
    output: str | Path,
    *,
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

    For classes these are the most likely one and the probabilities, for labels the true ones and their probabilities,
    else the raw outputs; `rows` has the row indices. If no loss determines the outputs, they are those of the
    signature, or the tensor that no op reads. By default the rows are the test rows, else the file's validation rows,
    else all.

    Args:
        model: The model, which is not changed.
        data: A path, or one of the other sources of rows.
        output: A file that ends in `.npz` or `.csv`.
        split: "train", "valid" or "test".
        valid: The training rows that were held out: 60, 20%, first:5000; by default as in the model's run.
        group: The column by which rows were held out together.
        seed: The random seed of the hold-out.
        tensor: The tensor to return instead of predictions.
        roles: Names of tensors by role, if they are not detected in the graph.
        callbacks: One callback or several; they receive the rows and their preprocessing.
        features: The features of records, if ambiguous.
        classes: The class names, or the file that contains them; by default the model's.
        preprocess: The preprocessing of rows (`scale(1/127.5, -1)`), if not the one stored in the model.
        overwrite: Whether an existing output is overwritten.
        executor: Where the rows are computed, if not in this process: by workers that open the model and the data.

    Raises:
        GraphError: the inputs or outputs are unknown, or the output does not have a row per row.
        DataError: the rows do not match the graph, or the number of classes differs from that of outputs.
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
    """The predictions as arrays by name: `rows`, `classes`, `probabilities`, ...

    `tensor` is the source of the predictions and `why` it was chosen; `class_names` are the class names, if any.
    """

    def __init__(self, arrays: Columns, tensor: str, why: str, class_names: tuple[str, ...]) -> None:
        """Initialise with arrays of the same rows."""
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
    *,
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
    """Return in memory what `predict` would write.

    Raises:
        CkptError: as for `predict`.
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
) -> PredictionRequest:
    """Return the request to a model, here or in a worker."""
    source, names = data if isinstance(data, InMemory) else str(data), class_names_of(classes)
    return PredictionRequest(source, which, tensor, as_items(roles or {}), features, tuple(names or ()), preprocess)


def _computed(
    model: Model, asked: PredictionRequest, callbacks: Callbacks, executor: Executor | None
) -> tuple[Predictor, Iterable[Columns]]:
    """Return the predictor, and its predictions in batches of rows."""
    callback, predictor = CallbackList(callbacks), asked.of(model)
    callback.on_notes([*predictor.notes, *(executor.notes if executor else ())])
    callback.on_data([predictor.rows])
    parts = predictor.stream.parts(predictor.arrays, predictor.rows.rows)
    if executor is None:
        return predictor, map(predictor.columns, parts)
    factory = PredictorFactory(WorkerModel.of(model, predictor.facts()), asked)
    return predictor, executor.map_in_order(factory, parts)
