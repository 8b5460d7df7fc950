"""Models on rows, from Python: judged, asked for predictions, and looked into."""

from collections.abc import Collection, Mapping
from typing import Any, Literal, Unpack, overload

from ckpttool.api.keywords import JudgedKeywords, RolesKeywords, RowsKeywords, objective_of, roles_of, rows_of
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
    """What rows are, and where they are fed."""


class PredictKeywords(PredictedKeywords, total=False):
    """All that `predict` takes by name."""

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
    """Return loss and accuracy over the test rows, else the validation rows, else all, and a tally by class.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        split: Which rows.
        valid: Which training rows were held out, 60, `20%`, `first:5000`; what the model's run says if not given.
        roles: Names of tensors by role, as the keywords `inputs`, `labels` and so on say them.
        callbacks: One callback or several; they are passed the rows and what was done to them.
        group: The column of rows that were held out together.
        seed: The random seed of that draw.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        ema: Whether the moving averages of the weights are taken.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        GraphError: the graph has no loss, labels or inputs that are known.
        DataError: the rows do not fit the graph.
    """
    return evaluate_verb.evaluate(
        to_run(model, allow_op, ema),
        as_source(data),
        split,
        valid,
        {**(roles or {}), **roles_of(settings)},
        reporting(callbacks, verbose),
        group=group,
        seed=seed,
        objective=objective_of(settings),
        **rows_of(settings),
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
    """Return what a model predicts for rows, which need no labels, as arrays by name, or write it to a file.

    Of classes these are `classes` and `probabilities`, with `names` where the classes have some; of labels those that
    hold and their probabilities; else `outputs`. `rows` numbers the rows.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory.
        output: A file to write instead, `.npz` or `.csv`; the shapes of its arrays are returned then.
        split: Which rows; the test rows, else the validation rows, else all, if not given.
        valid: Which training rows were held out, 60, `20%`, `first:5000`; what the model's run says if not given.
        tensor: What to predict with instead.
        roles: Names of tensors by role, as the keywords `inputs`, `labels` and so on say them.
        callbacks: One callback or several; they are passed the rows and what was done to them.
        overwrite: Whether an output that exists is replaced.
        group: The column of rows that were held out together.
        seed: The random seed of that draw.
        executor: What computes the rows, if not this process; an output is needed then.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        ema: Whether the moving averages of the weights are taken.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        GraphError: it is not known what to feed or what to predict, or that has no row for each row.
        DataError: the rows do not fit the graph.
        ExistingOutput: the output is there already.
    """
    given = {
        "split": split,
        "valid": valid,
        "tensor": tensor,
        "roles": {**(roles or {}), **roles_of(settings)},
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
    """Return how activations and gradients are spread over the layers, from the lowest to the top.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        rows: How many training rows to look at.
        valid: Which of the training rows were held out; what the model's run says if not given.
        roles: Names of tensors by role, as the keywords `inputs`, `labels` and so on say them.
        callbacks: One callback or several; they are passed the rows and what was done to them.
        group: The column of rows that were held out together.
        seed: The random seed of that draw.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        CkptError: the graph and the rows do not fit one another.
    """
    return diagnose_verb.diagnose(
        to_run(model, allow_op),
        as_source(data),
        rows,
        valid,
        {**(roles or {}), **roles_of(settings)},
        reporting(callbacks, verbose),
        group=group,
        seed=seed,
        objective=objective_of(settings),
        **rows_of(settings),
    )
