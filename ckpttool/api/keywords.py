"""Keywords: what a run, a head and rows can be told, said once for all functions that take them.

A group is a `TypedDict`: type checkers see its names and types, `takes` puts them with their texts and defaults into a
function's signature and docstring, and holds what is given against them. Defaults are those of `Options`, `Recipe` and
`Objective`, where they are said.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import wraps
from os import PathLike
from typing import Annotated, Any, Literal, TypedDict, TypeVar, get_args, get_type_hints

from ckpttool.api.kinds import require_kind
from ckpttool.core.errors import WrongKind
from ckpttool.core.names import as_pattern_text, suggestion
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options, with_training_op

ByPattern = float | str | Mapping[str, float]
"""One number for all, text as the command line takes it, or by pattern: `{"hidden[12]": 1e-4, "outputs": 1e-2}`."""
Function = TypeVar("Function", bound=Callable[..., Any])
_BY_PATTERN = "One number for all, or {pattern: number}."


class HeadKeywords(TypedDict, total=False):
    """How weights are changed by their gradients, as the training op of a graph does it."""

    optimizer: Annotated[
        str | None, "`sgd`, `momentum(0.01, momentum=0.9)`, `adam`, ...; sgd, adam for a new head on under 5000 rows."
    ]
    lr: Annotated[
        ByPattern | None, f"The learning rate, if not the optimizer's. {_BY_PATTERN} `auto-rgn`: by gradients."
    ]
    lr_decay_per_layer: Annotated[float | None, "Each layer has so much of the rate of the one above, 0 to 1."]
    schedule: Annotated[str, "How the rate changes: `cosine(1000)`, `exponential(0.1, steps=1000)`, ..., in steps."]
    warmup: Annotated[int, "Steps in which the rate grows to where the schedule begins."]
    l1: Annotated[ByPattern | None, f"Adds so much of the sum of |w| of the kernels to the loss. {_BY_PATTERN}"]
    l2: Annotated[ByPattern | None, f"Adds so much of the sum of w^2 / 2 of the kernels to the loss. {_BY_PATTERN}"]
    l2_sp: Annotated[ByPattern | None, f"The same of (w - w0)^2 / 2, w0 as at the start, below the head. {_BY_PATTERN}"]
    max_norm: Annotated[ByPattern | None, f"The largest norm of a unit's kernel after each step. {_BY_PATTERN}"]
    clip_value: Annotated[float | None, "Clips each element of a gradient to between minus and plus this."]
    clip_norm: Annotated[float | None, "Clips the norm of each gradient."]
    clip_global_norm: Annotated[float | None, "Clips the norm of all gradients together."]


class RecipeKeywords(HeadKeywords, total=False):
    """The same in a run."""

    ema: Annotated[float | None, "Keeps moving averages of trained weights with this decay per step, 0 to 1."]


class ObjectiveKeywords(TypedDict, total=False):
    """What is trained for."""

    objective: Annotated[
        str | Objective | None, "The loss: `softmax`, `sigmoid`, `mse`, ...; that of the graph, or softmax for a head."
    ]
    class_weight: Annotated[
        str | Mapping[int, float] | None, "Weights of classes in the loss, {3: 2.0, 7: 0.5}; the others have 1."
    ]
    label_smoothing: Annotated[float, "The share of a label that is given to all classes, 0 to 1."]


class RowsKeywords(TypedDict, total=False):
    """What rows are, and what is done to them."""

    preprocess: Annotated[str | None, "Steps for each row, `resize(96, 96); scale(1/127.5, -1)`; those of the model."]
    classes: Annotated[
        Sequence[str] | PathLike[str] | str | None, "Names of the classes by number, or a file that has them."
    ]
    features: Annotated[str | None, "What records of a `.tfrecord` hold, where they do not tell."]


class RolesKeywords(TypedDict, total=False):
    """Which of the graph's tensors are what, where that is not found."""

    inputs: Annotated[Sequence[str] | str | None, "Where rows are fed; a tensor that is no placeholder becomes one."]
    labels: Annotated[str | None, "Where labels are fed."]
    logits: Annotated[str | None, "The tensor that the loss compares with the labels."]
    loss: Annotated[str | None, "The tensor that training makes small."]
    accuracy: Annotated[str | None, "The tensor of the accuracy."]
    training: Annotated[str | None, "The boolean placeholder that is True while training."]
    signature: Annotated[str | None, "The signature by which a SavedModel is called."]


class JudgedKeywords(RowsKeywords, ObjectiveKeywords, RolesKeywords, total=False):
    """What rows are, and what the model is on them."""


class ImageKeywords(TypedDict, total=False):
    """How images are changed while they are trained on."""

    augment: Annotated[str | None, "`shift(0.1); rotate(15); flip()`, for each image, anew in each epoch."]
    image_shape: Annotated[Sequence[int] | None, "Height, width and channels of a row, where nothing tells."]


class TrialKeywords(RecipeKeywords, ObjectiveKeywords, RowsKeywords, RolesKeywords, ImageKeywords, total=False):
    """How a trial of a search is trained."""

    epochs: Annotated[int, "Passes over the rows."]
    batch_size: Annotated[int | None, "Rows per step; 200, for a new head on under 5000 rows an eighth at most."]
    early_stopping: Annotated[int | None, "Ends after so many epochs without a better one."]
    bn: Annotated[str | None, "Batch normalisation: `train`, `freeze`, `stats`, or `pattern=mode` pairs."]
    dropout: Annotated[
        ByPattern | None, f"Puts dropout of this rate, 0 to 1, behind trained hidden layers. {_BY_PATTERN}"
    ]
    cache_dir: Annotated[PathLike[str] | str | None, "Where features are kept; the user's cache folder."]
    threads: Annotated[int | None, "Cores of an op; 1 repeats a run to the last bit (`configure_tensorflow` first)."]
    seed: Annotated[int, "The random seed."]


class HeldOutKeywords(TypedDict, total=False):
    """Which training rows are validated on, where the data has no validation rows."""

    valid: Annotated[int | str | None, "Rows held out: 60 or `20%` drawn, `first:5000`, `last:10%`; a tenth is drawn."]
    group: Annotated[str | None, "The column of which rows with one value stay on one side."]


class RateKeywords(TrialKeywords, HeldOutKeywords, total=False):
    """What is trained, in a learning rate range test."""

    train: Annotated[str | None, "A pattern of the layers to train; all others are frozen."]
    freeze: Annotated[str | None, "A pattern of the layers that stay as they are."]
    unfreeze: Annotated[str | None, "A pattern of layers that the model itself keeps frozen, to be trained again."]
    cache: Annotated[bool, "Whether the frozen layers' outputs are computed once, and kept on disk."]
    cache_augment: Annotated[int | None, "How many augmented variants of each row are cached."]


class TrainingKeywords(RateKeywords, total=False):
    """How a run goes on."""

    stages: Annotated[str | None, "Unfreezes while it trains: `outputs=3, hidden4=10`, patterns with their epochs."]
    lp_ft: Annotated[int | None, "Epochs in which the head is trained first, alone."]
    keep: Annotated[Literal["best", "last"], "Which epoch is written, by the validation rows."]
    save_every: Annotated[str | None, "Saves the run every `500 steps`, `1 epoch` or `10 min`."]
    keep_checkpoints: Annotated[int, "How many of these saves are kept."]
    teacher: Annotated[PathLike[str] | str | None, "A model whose logits are learnt too."]
    temperature: Annotated[float, "By what the logits are divided, both the teacher's and the model's."]
    teacher_weight: Annotated[float, "The teacher's part of the loss, 0 to 1."]
    training_op: Annotated[str | None, "The graph's own training op, by which the model is trained as it is."]


class PretrainingKeywords(RecipeKeywords, HeldOutKeywords, ImageKeywords, total=False):
    """How a stage of pretraining is trained."""

    preprocess: Annotated[str | None, "Steps for each row, `resize(96, 96); scale(1/127.5, -1)`; those of the model."]
    features: Annotated[str | None, "What records of a `.tfrecord` hold, where they do not tell."]
    epochs: Annotated[int, "Passes over the rows."]
    batch_size: Annotated[int | None, "Rows per step; 200."]
    early_stopping: Annotated[int | None, "Ends after so many epochs without a better one."]
    keep: Annotated[Literal["best", "last"], "Which epoch is kept of each stage, by the validation rows."]
    cache_dir: Annotated[PathLike[str] | str | None, "Where features are kept; the user's cache folder."]
    save_every: Annotated[str | None, "Saves the run every `500 steps`, `1 epoch` or `10 min`."]
    keep_checkpoints: Annotated[int, "How many of these saves are kept."]
    threads: Annotated[int | None, "Cores of an op; 1 repeats a run to the last bit (`configure_tensorflow` first)."]
    seed: Annotated[int, "The random seed."]


ROLES = tuple(RolesKeywords.__annotations__)
_OBJECTIVE = tuple(ObjectiveKeywords.__annotations__)


def recipe_of(settings: Mapping[str, Any], recipe: Recipe | None = None) -> Recipe:
    """Return the recipe that keywords say, on the basis of another."""
    own = {each.name: settings[each.name] for each in fields(Recipe) if each.name in settings}
    return replace(recipe or Recipe(), **own)


def objective_of(settings: Mapping[str, Any], objective: Objective | None = None) -> Objective | None:
    """Return the objective that keywords say, on the basis of another; None where nothing is said.

    >>> objective_of({"class_weight": {3: 2.0}})
    Objective(kind='softmax', class_weight='3=2.0', label_smoothing=0.0)
    >>> objective_of({"epochs": 3})
    """
    own = {name: settings[name] for name in _OBJECTIVE if name in settings}
    if isinstance(made := own.get("objective"), Objective):
        objective = made
        del own["objective"]
    if (kind := own.pop("objective", None)) is not None:
        own["kind"] = kind
    if isinstance(weights := own.get("class_weight"), Mapping):
        own["class_weight"] = ", ".join(f"{number}={weight}" for number, weight in weights.items())
    return replace(objective or Objective(), **own) if own else objective


def roles_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the roles that keywords say.

    >>> roles_of({"inputs": "X", "loss": "loss:0", "epochs": 3})
    {'inputs': ('X',), 'loss': 'loss:0'}
    """
    given = {name: settings[name] for name in ROLES if settings.get(name)}
    if isinstance(given.get("inputs"), str):
        given["inputs"] = (given["inputs"],)
    return given


def rows_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what keywords say of rows, as verbs take it.

    >>> rows_of({"preprocess": "scale(1/255)", "epochs": 3})
    {'preprocess': 'scale(1/255)'}
    """
    return {name: settings[name] for name in RowsKeywords.__annotations__ if name in settings}


def options_of(settings: Mapping[str, Any], options: Options | None = None) -> Options:
    """Return the options that keywords say, on the basis of others.

    >>> options_of({"lr": 0.01, "epochs": 3, "freeze": "hidden1"}).recipe.rate
    0.01

    Raises:
        PlanError: a value cannot train, or a training op is named besides.
    """
    options = options or Options()
    texts = {name: as_pattern_text(settings[name]) for name in ("dropout",) if name in settings}
    named = {each.name for each in fields(Options)} - {"recipe", "objective", "roles"}
    own = {name: value for name, value in {**settings, **texts}.items() if name in named}
    if "image_shape" in own and own["image_shape"] is not None:
        own["image_shape"] = tuple(own["image_shape"])
    said = any(each.name in settings for each in fields(Recipe))
    recipe = recipe_of(settings, options.recipe) if said else options.recipe
    roles = {**options.roles, **roles_of(settings)}
    made = replace(options, recipe=recipe, objective=objective_of(settings, options.objective), roles=roles, **own)
    return with_training_op(made, settings.get("training_op"))


def takes(*groups: Any) -> Callable[[Function], Function]:
    """Put the keywords of groups into a function's signature and docstring, and check what it is called with.

    The function takes them as `**settings`.
    """
    keywords = {name: hint for group in groups for name, hint in get_type_hints(group, include_extras=True).items()}
    defaults = _defaults()

    def with_keywords(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=get_args(hint)[0]
            )
            for name, hint in keywords.items()
        ]

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            known = {parameter.name for parameter in own} | keywords.keys()
            for name, value in named.items():
                if name not in known:
                    raise WrongKind(f"{function.__name__}() has no keyword {name!r}{suggestion(name, known)}")
                if name in keywords and not (value is None and defaults.get(name) is None):
                    require_kind(name, value, keywords[name])
            return function(*arguments, **named)

        call.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        call.__doc__ = _with_arguments(function.__doc__ or "", keywords, defaults)
        return call  # type: ignore[return-value]

    return with_keywords


def _defaults() -> dict[str, Any]:
    """Return the default of each keyword, as the classes have it that keywords become."""
    options = {each.name: getattr(Options(), each.name) for each in fields(Options)}
    recipe = {each.name: getattr(Recipe(), each.name) for each in fields(Recipe)}
    return {**options, **recipe, "objective": None, "class_weight": None, "label_smoothing": Objective.label_smoothing}


def _with_arguments(text: str, keywords: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return a docstring with a line for each keyword at the end of its arguments; dedented, as by Python 3.13."""
    lines = []
    for name, hint in keywords.items():
        default = defaults.get(name)
        told = "" if default is None or default == "" else f" Default: {default!r}."
        lines.append(f"    {name}: {get_args(hint)[1]}{told}")
    before, raises, after = inspect.cleandoc(text).partition("\nRaises:")
    return "\n".join([before.rstrip(), *lines, ""]) + raises + after
