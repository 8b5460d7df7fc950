"""Gates: whether a model is intact, harmless, unchanged where required, and accurate enough."""

from collections.abc import Collection, Sequence
from typing import Unpack

from ckpttool.api.keywords import JudgedKeywords, judged_of
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
    """Check all gates of a model: intact files, no side effects, unchanged layers, and scores within bounds.

    Args:
        model: A model, a checkpoint, or the path of one.
        data: Rows with labels, a path or in memory, to evaluate it on; without them it is not run.
        unchanged: Patterns, each with another checkpoint in which the matched tensors must have the same bytes.
        min_accuracy: The minimum accuracy, 0 to 1.
        max_loss: The maximum loss.
        max_drop: The maximum decrease in accuracy against the baseline, 0 to 1.
        baseline: A model with which the scores are compared.
        severity: The minimum severity of a finding of `scan` that fails the gate.
        callbacks: One callback or several; they receive the rows and their preprocessing.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        ema: Whether the moving averages of the weights are used.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: a file is missing, or the rows do not match the model.
    """
    path, source = path_of(model), None if data is None else as_source(data)
    told = reporting(callbacks, verbose)

    def judge() -> tuple[Evaluation, Evaluation | None]:
        opened = to_run(path, allow_op, ema)
        before = None if baseline is None else to_run(baseline, allow_op, ema)
        return evaluate_against(opened, before, source or path, told, **judged_of(settings))

    bounds = Bounds(min_accuracy, max_loss, max_drop)
    same = [(pattern, path_of(other)) for pattern, other in unchanged]
    return check_verb.check(path, same, bounds, judge if source else None, severity)
