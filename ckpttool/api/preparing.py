"""Preparing a run: features of frozen layers, a learning rate, and how much to reuse."""

from collections.abc import Collection, Mapping
from typing import Any, Unpack

from ckpttool.api.keywords import (
    ImageKeywords,
    JudgedKeywords,
    ObjectiveKeywords,
    RateKeywords,
    RolesKeywords,
    RowsKeywords,
    TrialKeywords,
    judged_of,
    options_of,
)
from ckpttool.api.kinds import ModelLike, PathLike, as_path, to_run
from ckpttool.api.progress import reporting
from ckpttool.api.signatures import takes
from ckpttool.data.memory.source import Data, as_source
from ckpttool.executors.executor import Executor
from ckpttool.searching.found import Search
from ckpttool.searching.loop import Budget, SearchCallback
from ckpttool.training.callbacks.callback import Callbacks, accepts_watch
from ckpttool.training.features import Features
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options
from ckpttool.training.rate_curve import RateCurve
from ckpttool.verbs import cache as cache_verb
from ckpttool.verbs import lr_find as lr_find_verb
from ckpttool.verbs import search as search_verb
from ckpttool.verbs import search_quick as search_quick_verb
from ckpttool.verbs.search import SearchOptions
from ckpttool.verbs.search_quick import ROWS, QuickSearch


class CachedKeywords(RowsKeywords, ObjectiveKeywords, RolesKeywords, ImageKeywords, total=False):
    """The rows, and the augmentation of images."""


@accepts_watch
@takes(CachedKeywords)
def cache(
    model: ModelLike,
    data: Data,
    freeze: str,
    valid: int | str | None = None,
    root: PathLike | None = None,
    roles: Mapping[str, Any] | None = None,
    callbacks: Callbacks = (),
    *,
    cache_augment: int | None = None,
    seed: int = 42,
    group: str | None = None,
    unfreeze: str | None = None,
    executor: Executor | None = None,
    verbose: int = 1,
    allow_op: Collection[str] = (),
    **settings: Unpack[CachedKeywords],
) -> Features:
    """Return the outputs of a model's frozen layers for the training and validation rows, from the cache or computed.

    Args:
        model: A model or its path.
        data: A path or rows in memory.
        freeze: A pattern of the frozen layers.
        valid: The training rows to hold out, as in the training run that will use the features.
        root: The folder of the cache, also s3://BUCKET/FOLDER; None is the user's cache folder.
        roles: Names of tensors by role, as an alternative to the keywords `inputs`, `labels`, ...
        callbacks: One callback or several, called while the cache is filled.
        cache_augment: The number of augmented variants of each training row.
        seed: The random seed of the hold-out and of the variants.
        group: The column by which rows are held out together, as in that run.
        unfreeze: A pattern of layers that the model itself keeps frozen, but that will be trained.
        executor: Where the features are computed, if not in this process.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: the layers, the graph and the data are inconsistent.
    """
    return cache_verb.cache(
        to_run(model, allow_op),
        as_source(data),
        freeze,
        valid=valid,
        root=None if root is None else str(root),
        callbacks=reporting(callbacks, verbose),
        augment=settings.get("augment"),
        cache_augment=cache_augment,
        image_shape=settings.get("image_shape"),
        seed=seed,
        group=group,
        unfreeze=unfreeze,
        executor=executor,
        **{name: value for name, value in judged_of(settings, roles).items() if name != "classes"},
    )


@takes(RateKeywords)
def lr_find(
    model: ModelLike,
    data: Data,
    options: Options | None = None,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
    callbacks: Callbacks = (),
    *,
    verbose: int = 1,
    allow_op: Collection[str] = (),
    **settings: Unpack[RateKeywords],
) -> RateCurve:
    """Train a copy of a model for some steps with an increasing rate, and suggest a learning rate.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        options: The keywords as one object; keywords have precedence.
        low: The first rate.
        high: The last rate.
        steps: The number of rates to try.
        callbacks: One callback or several; they receive the plan and the rows.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: the graph, the options and the rows are inconsistent.
    """
    asked, told = options_of(settings, options), reporting(callbacks, verbose)
    opened = to_run(model, allow_op, threads=asked.threads)
    return lr_find_verb.find_learning_rate(
        opened, as_source(data), asked, low=low, high=high, steps=steps, callbacks=told
    )


@takes(TrialKeywords)
def search(
    model: ModelLike,
    data: Data,
    head: str,
    output: PathLike,
    options: Options | None = None,
    *,
    grid: bool = False,
    keep: str | None = None,
    freeze: str | None = None,
    rope: float = 0.005,
    seeds: int = 3,
    folds: int = 5,
    rows: int | None = None,
    lp_ft: bool = True,
    soup: bool = False,
    interpolate: bool = False,
    budget: float | None = None,
    trials: int | None = None,
    overwrite: bool = False,
    callback: SearchCallback | None = None,
    executor: Executor | None = None,
    interrupt: Interrupt | None = None,
    to: str | None = None,
    write: bool = True,
    allow_op: Collection[str] = (),
    **settings: Unpack[TrialKeywords],
) -> Search:
    """Find how many layers of a model to keep and to freeze below a new head, and write the recommended model.

    `search_quick` ranks the depths without training anything.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        head: The new layers (SPEC); the last one has an output per class of the data.
        output: The model to write; trials are stored beside it, and an interrupted search resumes from them.
        options: The keywords of each trial as one object; keywords have precedence.
        grid: Whether to try all configurations, instead of a guided walk through them.
        keep: The depths to keep, `1-3,5`.
        freeze: The depths to freeze, `0-2`.
        rope: The difference in accuracy that is practically equal, 0 to 1.
        seeds: The number of repetitions with other splits, initial values and orders of rows.
        folds: The number of folds into which fewer than 2000 labelled rows are divided.
        rows: The number of training rows, stratified by class; by default all.
        lp_ft: Whether to train the new head alone first, if kept layers are trained too.
        soup: Whether to average the recommended model with tied ones, if that helps.
        interpolate: Whether to write the best interpolation between head-only training and the recommended weights.
        budget: The seconds after which the search ends with its current result.
        trials: The number of trials after which it ends likewise.
        overwrite: Whether an existing output and its trials are overwritten.
        callback: A callback, called during the trials.
        executor: Where the trials run, if not in this process.
        interrupt: An interrupt that ends the search once requested.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        write: Whether to write the model at the end.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: the rows, the head and the model are inconsistent.
    """
    used = Budget(budget, trials)
    how = SearchOptions(grid, keep, freeze, rope, seeds, folds, rows, lp_ft, soup, interpolate, used)
    asked = options_of(settings, options)
    return search_verb.search_reuse(
        to_run(model, allow_op, threads=asked.threads),
        as_source(data),
        head,
        as_path(output),
        options=asked,
        how=how,
        overwrite=overwrite,
        callback=callback,
        executor=executor,
        interrupt=interrupt,
        to=to,
        write=write,
    )


@takes(JudgedKeywords)
def search_quick(
    model: ModelLike,
    data: Data,
    options: Options | None = None,
    callbacks: Callbacks = (),
    rows: int = ROWS,
    *,
    verbose: int = 1,
    allow_op: Collection[str] = (),
    **settings: Unpack[JudgedKeywords],
) -> QuickSearch:
    """Return the score of a linear head on each depth of a frozen model, without training anything.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels, which may differ from the model's.
        options: The keywords as one object; keywords have precedence.
        callbacks: One callback or several; they receive the rows, notes and the progress.
        rows: The maximum number of rows to score, stratified by class.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: the rows do not match the model.
    """
    asked, told = options_of(settings, options), reporting(callbacks, verbose)
    return search_quick_verb.search_quick(to_run(model, allow_op), as_source(data), asked, told, rows)
