"""Models on rows: evaluated, used for predictions, and diagnosed."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, Unpack, overload

from ckpttool.api.keywords import JudgedKeywords, RolesKeywords, RowsKeywords, judged_of, roles_of, rows_of
from ckpttool.api.kinds import ModelLike, PathLike, as_path, to_run
from ckpttool.api.progress import reporting
from ckpttool.api.signatures import takes
from ckpttool.data.memory.source import Data, as_source
from ckpttool.executors.executor import Executor
from ckpttool.training.callbacks.callback import Callbacks, accepts_watch
from ckpttool.training.diagnosis import Diagnosis
from ckpttool.verbs import diagnose as diagnose_verb
from ckpttool.verbs import evaluate as evaluate_verb
from ckpttool.verbs import predict as predict_verb
from ckpttool.verbs.evaluate import Evaluation
from ckpttool.verbs.predict import Predicted, Prediction


class PredictedKeywords(RowsKeywords, RolesKeywords, total=False):
    """The rows, and the tensors that they are fed to."""


class PredictKeywords(PredictedKeywords, total=False):
    """All keywords of `predict`."""

    split: "Split | None"
    valid: int | str | None
    tensor: str | None
    roles: Mapping[str, Any] | None
    callbacks: Callbacks
    overwrite: bool
    group: str | None
    seed: int | None
    executor: Executor | None
    verbose: int
    ema: bool
    allow_op: Collection[str]


Split = Literal["train", "valid", "test"]


@accepts_watch
@takes(JudgedKeywords)
def evaluate(
    model: ModelLike,
    data: Data,
    split: Split | None = None,
    valid: int | str | None = None,
    roles: Mapping[str, Any] | None = None,
    callbacks: Callbacks = (),
    *,
    group: str | None = None,
    seed: int | None = None,
    verbose: int = 1,
    ema: bool = False,
    allow_op: Collection[str] = (),
    **settings: Unpack[JudgedKeywords],
) -> Evaluation:
    """Return loss, accuracy and metrics by class on the test rows, else the validation rows, else all rows.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        split: The split of the rows.
        valid: The training rows that were held out, 60, `20%`, `first:5000`; by default as in the model's run.
        roles: Names of tensors by role, as an alternative to the keywords `inputs`, `labels`, ...
        callbacks: One callback or several; they receive the rows and their preprocessing.
        group: The column by which rows were held out together.
        seed: The random seed of the hold-out.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        ema: Whether the moving averages of the weights are used.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        GraphError: the loss, the labels or the inputs of the graph are unknown.
        DataError: the rows do not match the graph.
    """
    return evaluate_verb.evaluate(
        to_run(model, allow_op, ema),
        as_source(data),
        split=split,
        valid=valid,
        callbacks=reporting(callbacks, verbose),
        group=group,
        seed=seed,
        **judged_of(settings, roles),
    )


@overload
def predict(model: ModelLike, data: Data, output: None = None, **settings: Unpack[PredictKeywords]) -> Predicted: ...


@overload
def predict(model: ModelLike, data: Data, output: PathLike, **settings: Unpack[PredictKeywords]) -> Prediction: ...


@accepts_watch
@takes(PredictedKeywords)
def predict(
    model: ModelLike,
    data: Data,
    output: PathLike | None = None,
    split: Split | None = None,
    valid: int | str | None = None,
    tensor: str | None = None,
    roles: Mapping[str, Any] | None = None,
    callbacks: Callbacks = (),
    *,
    overwrite: bool = False,
    group: str | None = None,
    seed: int | None = None,
    executor: Executor | None = None,
    verbose: int = 1,
    ema: bool = False,
    allow_op: Collection[str] = (),
    **settings: Unpack[PredictedKeywords],
) -> Predicted | Prediction:
    """Return a model's predictions for rows, which need no labels, as arrays by name, or write them to a file.

    For classes these are `classes` and `probabilities`, with `names` if the classes have names; for labels the true
    ones and their probabilities; else `outputs`. `rows` has the row indices.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory.
        output: A file to write instead, `.npz` or `.csv`; then the shapes of its arrays are returned.
        split: The split; by default the test rows, else the validation rows, else all.
        valid: The training rows that were held out, 60, `20%`, `first:5000`; by default as in the model's run.
        tensor: The tensor to return instead of predictions.
        roles: Names of tensors by role, as an alternative to the keywords `inputs`, `labels`, ...
        callbacks: One callback or several; they receive the rows and their preprocessing.
        overwrite: Whether an existing output is overwritten.
        group: The column by which rows were held out together.
        seed: The random seed of the hold-out.
        executor: Where the rows are computed, if not in this process; requires an output.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        ema: Whether the moving averages of the weights are used.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        GraphError: the inputs or outputs are unknown, or the output does not have a row per row.
        DataError: the rows do not match the graph.
        ExistingOutput: the output exists.
    """
    given = {
        "split": split,
        "valid": valid,
        "tensor": tensor,
        "roles": roles_of(settings, roles),
        "callbacks": reporting(callbacks, verbose),
        "group": group,
        "seed": seed,
        **rows_of(settings),
    }
    opened, source = to_run(model, allow_op, ema), as_source(data)
    if output is None:
        return predict_verb.predicted(opened, source, executor=executor, **given)
    return predict_verb.predict(opened, source, as_path(output), overwrite=overwrite, executor=executor, **given)


@accepts_watch
@takes(JudgedKeywords)
def diagnose(
    model: ModelLike,
    data: Data,
    rows: int = 1000,
    valid: int | str | None = None,
    roles: Mapping[str, Any] | None = None,
    callbacks: Callbacks = (),
    *,
    group: str | None = None,
    seed: int | None = None,
    verbose: int = 1,
    allow_op: Collection[str] = (),
    **settings: Unpack[JudgedKeywords],
) -> list[Diagnosis]:
    """Return statistics of activations and gradients by layer, from the lowest to the top.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        rows: The number of training rows to use.
        valid: The training rows that were held out; by default as in the model's run.
        roles: Names of tensors by role, as an alternative to the keywords `inputs`, `labels`, ...
        callbacks: One callback or several; they receive the rows and their preprocessing.
        group: The column by which rows were held out together.
        seed: The random seed of the hold-out.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: the rows do not match the graph.
    """
    return diagnose_verb.diagnose(
        to_run(model, allow_op),
        as_source(data),
        rows=rows,
        valid=valid,
        callbacks=reporting(callbacks, verbose),
        group=group,
        seed=seed,
        **judged_of(settings, roles),
    )
