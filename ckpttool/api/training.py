"""Training from Python: a run, runs in rounds, and layers that are pretrained without labels."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Unpack

from ckpttool.api.keywords import PretrainingKeywords, TrainingKeywords, options_of
from ckpttool.api.kinds import ModelLike, PathLike, as_path, to_run
from ckpttool.api.progress import reporting
from ckpttool.api.signatures import takes
from ckpttool.core.errors import WrongKind
from ckpttool.data.memory.source import Data, as_source
from ckpttool.runtime.configure import configure_by_default
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.training.callbacks.callback import Callbacks, accepts_watch
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options, PseudoLabels
from ckpttool.training.run import Run
from ckpttool.verbs import finetune as finetune_verb
from ckpttool.verbs import pretrain as pretrain_verb
from ckpttool.verbs import pseudo_labels as pseudo_labels_verb
from ckpttool.verbs.pretrain import Pretrained
from ckpttool.verbs.pseudo_labels import Rounds


@accepts_watch
@takes(TrainingKeywords)
def finetune(
    model: ModelLike,
    data: Data,
    output: PathLike,
    options: Options | None = None,
    overwrite: bool = False,
    *,
    resume: bool = False,
    callbacks: Callbacks = (),
    verbose: int = 1,
    recording: Recording | None = None,
    interrupt: Interrupt | None = None,
    to: str | None = None,
    allow_op: Collection[str] = (),
    **settings: Unpack[TrainingKeywords],
) -> Run:
    """Train the layers of a model that are not frozen, write the best epoch, and prove that frozen tensors stayed.

    The run that is returned is a path, too: it goes wherever a model does.

    >>> import ckpttool
    >>> run = ckpttool.finetune("new.ckpt", (X, y), "tuned.ckpt", freeze="hidden[12]", lr=0.01)  # doctest: +SKIP

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels: `(X, y)`, a frame, batches, or another form of `Data`.
        output: The prefix to write, a SavedModel's folder, or a `.keras` file; a report and a history lie beside it.
        options: What keywords would say, as one value; they come before it.
        overwrite: Whether what lies at `output` is replaced.
        resume: Whether a run that was stopped goes on where it was, to the same result.
        callbacks: One callback or several, which are called while the run goes on.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        recording: What is recorded besides: TensorBoard's events, a plot.
        interrupt: What ends the run early, once it is requested; it is saved then.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        CkptError: something does not fit; nothing is written then.
    """
    output, options = _in_order(output, options)
    asked, told = options_of(settings, options), reporting(callbacks, verbose)
    return finetune_verb.finetune(
        to_run(model, allow_op, threads=asked.threads),
        as_source(data),
        asked,
        output,
        overwrite,
        told,
        resume,
        recording=recording,
        interrupt=interrupt,
        to=to,
    )


@accepts_watch
@takes(TrainingKeywords)
def finetune_in_rounds(
    model: ModelLike,
    data: Data,
    output: PathLike,
    options: Options | None = None,
    pseudo: PseudoLabels | None = None,
    overwrite: bool = False,
    *,
    pseudo_label: float | None = None,
    unlabelled: Data | None = None,
    rounds: int = 1,
    sure: float = 0.0,
    resume: bool = False,
    callbacks: Callbacks = (),
    verbose: int = 1,
    recording: Recording | None = None,
    interrupt: Interrupt | None = None,
    to: str | None = None,
    allow_op: Collection[str] = (),
    **settings: Unpack[TrainingKeywords],
) -> Rounds:
    """Train on labelled rows, then in each round on those and on rows that the model has labelled itself.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        output: The prefix of the result, the best round's.
        options: What keywords would say, as one value; they come before it.
        pseudo: What the next four would say, as one value.
        pseudo_label: The share of each class that gets labels, the surest first, 0 to 1.
        unlabelled: The rows without labels: a path, or in memory.
        rounds: How often rows are labelled anew.
        sure: The least probability of a label, 0 to 1.
        overwrite: Whether what lies at `output` is replaced.
        resume: Whether a run that was stopped goes on where it was, to the same result.
        callbacks: One callback or several, which are called while the rounds go on.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        recording: What is recorded besides: TensorBoard's events, a plot.
        interrupt: What ends the run early, once it is requested.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        CkptError: something does not fit; nothing is written then.
    """
    output, options = _in_order(output, options)
    if pseudo is None:
        if pseudo_label is None or unlabelled is None:
            raise WrongKind("rows are labelled by a `pseudo_label`, the share of each class, of `unlabelled` rows")
        pseudo = PseudoLabels(pseudo_label, as_source(unlabelled), rounds, sure)
    asked, told = options_of(settings, options), reporting(callbacks, verbose)
    return pseudo_labels_verb.finetune_in_rounds(
        to_run(model, allow_op, threads=asked.threads),
        as_source(data),
        asked,
        output,
        pseudo,
        overwrite,
        told,
        resume,
        recording=recording,
        interrupt=interrupt,
        to=to,
    )


@accepts_watch
@takes(PretrainingKeywords)
def pretrain(
    data: Data,
    layers: str | None,
    method: PretrainingMethod | str,
    output: PathLike,
    options: Options | None = None,
    shape: Sequence[int] | None = None,
    model: ModelLike | None = None,
    after: str | None = None,
    *,
    end_to_end: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    callbacks: Callbacks = (),
    verbose: int = 1,
    recording: Recording | None = None,
    interrupt: Interrupt | None = None,
    to: str | None = None,
    allow_op: Collection[str] = (),
    **settings: Unpack[PretrainingKeywords],
) -> Pretrained:
    """Train new layers by a method that needs no labels, and write them as a model to be reused.

    Args:
        data: A path or rows in memory; labels are used by methods that need some.
        layers: The layers from the input, or from the model's, up (SPEC); None trains a model's layers as they are.
        method: What the layers are trained for: `autoencoder(noise=mask(0.3))`, `rbm`, `pairs`, ...
        output: The prefix of the result.
        options: What keywords would say, as one value; they come before it.
        shape: The shape of a row, if not as it is stored: (28, 28, 1).
        model: A model, or its path, whose layers new ones are put on.
        after: The layer of the model that is the last to stay.
        end_to_end: Whether all layers of an autoencoder are trained together once more, when each was trained alone.
        overwrite: Whether what lies at `output` is replaced.
        resume: Whether pretraining that was stopped goes on where it was, to the same result.
        callbacks: One callback or several, which are called while the stages go on.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        recording: What is recorded besides the histories.
        interrupt: What ends the run early, once it is requested.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        CkptError: something does not fit; nothing is written then.
    """
    asked, told = options_of(settings, options), reporting(callbacks, verbose)
    configure_by_default("conv2d(" in (layers or ""), asked.threads)
    return pretrain_verb.pretrain(
        as_source(data),
        layers,
        PretrainingMethod.read(method, "`method`") if isinstance(method, str) else method,
        as_path(output),
        asked,
        shape,
        None if model is None else to_run(model, allow_op, threads=asked.threads),
        after,
        overwrite,
        told,
        resume,
        recording,
        interrupt=interrupt,
        to=to,
        end_to_end=end_to_end,
    )


def _in_order(output: Any, options: Any) -> tuple[Path, Options | None]:
    """Return output and options, which programs of before pass in the other order."""
    if isinstance(output, Options):
        output, options = options, output
    if options is not None and not isinstance(options, Options):
        raise WrongKind(f"`options`: expected an Options, found {type(options).__name__}; `lr=0.01` says one of them")
    return as_path(output), options
