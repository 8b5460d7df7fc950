"""Gates from Python: whether a model is whole, harmless, unchanged where it has to be, and good enough."""

from collections.abc import Collection, Sequence
from typing import Unpack

from ckpttool.api.keywords import JudgedKeywords, objective_of, roles_of, rows_of
from ckpttool.api.kinds import CheckpointLike, ModelLike, path_of, to_run
from ckpttool.api.progress import reporting
from ckpttool.api.signatures import takes
from ckpttool.data.memory.source import Data, as_source
from ckpttool.scanning.finding import Severity
from ckpttool.training.callbacks.callback import Callbacks
from ckpttool.training.gates import Bounds
from ckpttool.verbs import check as check_verb
from ckpttool.verbs.check import Checked
from ckpttool.verbs.evaluate import Evaluation, evaluate_against


@takes(JudgedKeywords)
def check(
    model: ModelLike | CheckpointLike,
    data: Data | None = None,
    *,
    unchanged: Sequence[tuple[str, CheckpointLike]] = (),
    min_accuracy: float | None = None,
    max_loss: float | None = None,
    max_drop: float | None = None,
    baseline: ModelLike | None = None,
    severity: Severity = "high",
    callbacks: Callbacks = (),
    verbose: int = 1,
    ema: bool = False,
    allow_op: Collection[str] = (),
    **settings: Unpack[JudgedKeywords],
) -> Checked:
    """Ask all gates of a model at once: whole files, nothing that acts, kept layers, and scores in their bounds.

    Args:
        model: A model, a checkpoint, or the path of one.
        data: Rows with labels, a path or in memory, that it is judged on; it is not run without.
        unchanged: Patterns, each with another checkpoint, whose tensors must have the same bytes.
        min_accuracy: The least accuracy, 0 to 1.
        max_loss: The largest loss.
        max_drop: How much of accuracy may be lost against the baseline, 0 to 1.
        baseline: A model that the scores are compared with.
        severity: The least severity at which what could act is a no.
        callbacks: One callback or several; they are passed the rows and what was done to them.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        ema: Whether the moving averages of the weights are judged.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        CkptError: a file is missing, or the rows do not fit.
    """
    path, source = path_of(model), None if data is None else as_source(data)
    told = reporting(callbacks, verbose)

    def judge() -> tuple[Evaluation, Evaluation | None]:
        opened = to_run(path, allow_op, ema)
        before = None if baseline is None else to_run(baseline, allow_op, ema)
        how = {"roles": roles_of(settings), "objective": objective_of(settings), "callbacks": told, **rows_of(settings)}
        return evaluate_against(opened, before, source or path, **how)

    bounds = Bounds(min_accuracy, max_loss, max_drop)
    same = [(pattern, path_of(other)) for pattern, other in unchanged]
    return check_verb.check(path, same, bounds, judge if source else None, severity)
