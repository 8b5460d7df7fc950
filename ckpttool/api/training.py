"""Training: a run, runs with pseudo-labels, and pretraining without labels."""

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
    """Train the layers of a model that are not frozen, write the best epoch, and prove frozen tensors unchanged.

    The returned run is accepted wherever the path of a model is.

    >>> import ckpttool
    >>> run = ckpttool.finetune("new.ckpt", (X, y), "tuned.ckpt", freeze="hidden[12]", lr=0.01)  # doctest: +SKIP

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels: `(X, y)`, a frame, batches, or another form of `Data`.
        output: The prefix to write, a SavedModel folder, or a `.keras` file; a report and history are beside it.
        options: The keywords as one object; keywords have precedence.
        overwrite: Whether an existing output is overwritten.
        resume: Whether to resume an interrupted run, which leads to the same result.
        callbacks: One callback or several, called during the run.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        recording: Further records: TensorBoard events, a plot.
        interrupt: An interrupt that ends the run once requested; the run is then saved.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: the model, the options and the rows are inconsistent; nothing is written.
    """
    output, options = _in_order(output, options)
    asked, told = options_of(settings, options), reporting(callbacks, verbose)
    return finetune_verb.finetune(
        to_run(model, allow_op, threads=asked.threads),
        as_source(data),
        asked,
        output,
        overwrite=overwrite,
        callbacks=told,
        resume=resume,
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
    """Train on labelled rows, then in each round also on rows labelled by the model itself.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        output: The prefix to write, for the best round.
        options: The keywords as one object; keywords have precedence.
        pseudo: The next four parameters as one object.
        pseudo_label: The fraction of each class to label, the most confident first, 0 to 1.
        unlabelled: The unlabelled rows: a path, or in memory.
        rounds: The number of rounds of labelling.
        sure: The minimum probability of a label, 0 to 1.
        overwrite: Whether an existing output is overwritten.
        resume: Whether to resume an interrupted run, which leads to the same result.
        callbacks: One callback or several, called during the rounds.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        recording: Further records: TensorBoard events, a plot.
        interrupt: An interrupt that ends the run once requested.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: the model, the options and the rows are inconsistent; nothing is written.
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
        overwrite=overwrite,
        callbacks=told,
        resume=resume,
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
    """Train layers by a method that needs no labels, and write them as a model to reuse.

    Args:
        data: A path or rows in memory; labels are used by methods that need them.
        layers: The new layers from the input or the model's last layer up (SPEC); None trains the model's own layers.
        method: The method of pretraining: `autoencoder(noise=mask(0.3))`, `rbm`, `pairs`, ...
        output: The prefix to write.
        options: The keywords as one object; keywords have precedence.
        shape: The shape of a row, if not the stored one: (28, 28, 1).
        model: A model, or its path, above whose layers new ones are added.
        after: The last layer of the model to keep.
        end_to_end: Whether to train all layers of an autoencoder together after each was trained alone.
        overwrite: Whether an existing output is overwritten.
        resume: Whether to resume interrupted pretraining, which leads to the same result.
        callbacks: One callback or several, called during the stages.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        recording: Further records besides the histories.
        interrupt: An interrupt that ends the run once requested.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: the model, the options and the rows are inconsistent; nothing is written.
    """
    asked, told = options_of(settings, options), reporting(callbacks, verbose)
    configure_by_default("conv2d(" in (layers or ""), asked.threads)
    return pretrain_verb.pretrain(
        as_source(data),
        layers,
        PretrainingMethod.read(method, "`method`") if isinstance(method, str) else method,
        as_path(output),
        asked,
        shape=shape,
        model=None if model is None else to_run(model, allow_op, threads=asked.threads),
        after=after,
        overwrite=overwrite,
        callbacks=told,
        resume=resume,
        recording=recording,
        interrupt=interrupt,
        to=to,
        end_to_end=end_to_end,
    )


def _in_order(output: Any, options: Any) -> tuple[Path, Options | None]:
    """Return output and options, which older programs pass in reverse order."""
    if isinstance(output, Options):
        output, options = options, output
    if options is not None and not isinstance(options, Options):
        raise WrongKind(f"`options`: expected an Options, found {type(options).__name__}; `lr=0.01` says one of them")
    return as_path(output), options
