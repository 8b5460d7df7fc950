"""What comes before a run, from Python: features of frozen layers, a learning rate, and how much is worth reusing."""

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
    objective_of,
    options_of,
    roles_of,
    rows_of,
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
    """What rows are, and how images among them are changed."""


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
    """Return what the frozen layers of a model give for the training and validation rows, from disk if it is there.

    Args:
        model: A model or its path.
        data: A path or rows in memory.
        freeze: A pattern that takes the frozen layers.
        valid: Which of the training rows are held out, as in the training that will use the features.
        root: The folder of the cache, also s3://BUCKET/FOLDER; None is the user's own.
        roles: Names of tensors by role, as the keywords `inputs`, `labels` and so on say them.
        callbacks: One callback or several, which are called while the cache is filled.
        cache_augment: How many augmented variants of each training row are kept.
        seed: The random seed of the draw and of the variants.
        group: The column of rows that are held out together, as in that training.
        unfreeze: A pattern of layers that the model itself keeps frozen, and that will be trained again.
        executor: What computes the features, if not this process.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        CkptError: the layers, the graph or the data do not fit one another.
    """
    given = {name: value for name, value in rows_of(settings).items() if name != "classes"}
    return cache_verb.cache(
        to_run(model, allow_op),
        as_source(data),
        freeze,
        valid,
        None if root is None else str(root),
        {**(roles or {}), **roles_of(settings)},
        reporting(callbacks, verbose),
        settings.get("augment"),
        cache_augment,
        settings.get("image_shape"),
        seed,
        group=group,
        objective=objective_of(settings),
        unfreeze=unfreeze,
        executor=executor,
        **given,
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
    """Train a copy of a model for some steps with a rate that grows, and suggest a learning rate.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        options: What keywords would say, as one value; they come before it.
        low: The first rate.
        high: The last rate.
        steps: How many rates to try.
        callbacks: One callback or several; they are passed the plan and the rows.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        CkptError: the graph, the options and the rows do not fit one another.
    """
    asked, told = options_of(settings, options), reporting(callbacks, verbose)
    opened = to_run(model, allow_op, threads=asked.threads)
    return lr_find_verb.find_learning_rate(opened, as_source(data), asked, low, high, steps, told)


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
    """Try how many layers of a model to keep and to freeze below a new head, recommend, and write what is recommended.

    `search_quick` ranks the depths without training anything.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels.
        head: The new layers (SPEC), whose last one gives the classes of the data.
        output: The model that is written; the trials are kept beside it, and a search that was ended goes on.
        options: What keywords would say of each trial, as one value; they come before it.
        grid: Whether all ways to keep and to freeze are tried, not those that a walk meets.
        keep: Depths that may be kept, `1-3,5`.
        freeze: Depths that may be frozen, `0-2`.
        rope: The difference of accuracies that is as good as none, 0 to 1.
        seeds: How often all is repeated, with other splits, initial values and orders of rows.
        folds: Into how many folds under 2000 labelled rows are divided.
        rows: How many rows to train on, by class; all if not given.
        lp_ft: Whether the new head is trained first, alone, where layers that are kept are trained.
        soup: Whether what is written is averaged with those tied, if that helps.
        interpolate: Whether the best of the weights between the head's alone and the recommended ones is written.
        budget: The seconds after which it ends, with what is known.
        trials: The number of trials after which it ends, likewise.
        overwrite: Whether an output and its trials are replaced.
        callback: Is called while trials are run.
        executor: Where trials are run, if not in this process.
        interrupt: What ends the search, once it is requested.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        write: Whether the model is written at the end.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        CkptError: the rows, the head and the model do not fit one another.
    """
    used = Budget(budget, trials)
    how = SearchOptions(grid, keep, freeze, rope, seeds, folds, rows, lp_ft, soup, interpolate, used)
    asked = options_of(settings, options)
    return search_verb.search_reuse(
        to_run(model, allow_op, threads=asked.threads),
        as_source(data),
        head,
        as_path(output),
        asked,
        how,
        overwrite,
        callback,
        executor,
        interrupt,
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
    """Return how well a linear head would do on each depth of a model whose layers stay frozen; nothing is trained.

    Args:
        model: A model or its path, which is not changed.
        data: A path or rows in memory, with labels, which need not be those of the model.
        options: What keywords would say, as one value; they come before it.
        callbacks: One callback or several; they are passed the rows, notes, and how far the features are.
        rows: How many rows to score at most, each class in its share.
        verbose: 0 shows nothing; 1 a bar, in a notebook or a terminal.
        allow_op: Types of ops that may run though they can have side effects.

    Raises:
        WrongKind: an argument is of a kind that does not go.
        CkptError: the rows and the model do not fit one another.
    """
    asked, told = options_of(settings, options), reporting(callbacks, verbose)
    return search_quick_verb.search_quick(to_run(model, allow_op), as_source(data), asked, told, rows)
