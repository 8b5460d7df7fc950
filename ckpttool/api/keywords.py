"""Keywords of runs, heads and rows, defined once for all functions that accept them.

A group is a `TypedDict`: type checkers see its names and types, and `signatures.takes` adds them with their texts and
defaults to a function's signature and docstring.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from os import PathLike
from typing import Annotated, Any, Literal, TypedDict

from ckpttool.core.patterns import as_pattern_text
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options, with_training_op

ByPattern = float | str | Mapping[str, float]
"""One number for all, text as on the command line, or by pattern: `{"hidden[12]": 1e-4, "outputs": 1e-2}`."""
_BY_PATTERN = "One number for all, or {pattern: number}."


class HeadKeywords(TypedDict, total=False):
    """How gradients update the weights in the training op of a graph."""

    optimizer: Annotated[
        str | None,
        "`sgd`, `momentum(0.01, momentum=0.9)`, `adam`, ...; default sgd, or adam for a new head on few examples.",
    ]
    lr: Annotated[
        ByPattern | None, f"The learning rate; default: the optimizer's. {_BY_PATTERN} `auto-rgn`: by gradients."
    ]
    lr_decay_per_layer: Annotated[float | None, "Factor of the learning rate for each layer down, 0 to 1."]
    schedule: Annotated[
        str, "The learning rate schedule, in steps: `cosine(1000)`, `exponential(0.1, steps=1000)`, ..."
    ]
    warmup: Annotated[int, "Steps of linear warm-up before the schedule."]
    l1: Annotated[ByPattern | None, f"L1 penalty: the factor of sum(|w|) of the kernels in the loss. {_BY_PATTERN}"]
    l2: Annotated[ByPattern | None, f"L2 penalty: the factor of sum(w^2) / 2 of the kernels in the loss. {_BY_PATTERN}"]
    l2_sp: Annotated[
        ByPattern | None, f"The factor of sum((w - w0)^2) / 2 below the head, w0 initial values. {_BY_PATTERN}"
    ]
    max_norm: Annotated[ByPattern | None, f"The maximum norm of each unit's kernel. {_BY_PATTERN}"]
    clip_value: Annotated[float | None, "Clips each element of a gradient to [-value, value]."]
    clip_norm: Annotated[float | None, "Clips the norm of each gradient."]
    clip_global_norm: Annotated[float | None, "Clips the norm of all gradients together."]


class RecipeKeywords(HeadKeywords, total=False):
    """The same, and what applies to a run only."""

    ema: Annotated[float | None, "Keeps moving averages of the trained weights with this decay, 0 to 1."]


class ObjectiveKeywords(TypedDict, total=False):
    """The loss to train for."""

    objective: Annotated[
        str | Objective | None,
        "The loss: `softmax`, `sigmoid`, `mse`, ...; default: the graph's, or softmax for a head.",
    ]
    class_weight: Annotated[
        str | Mapping[int, float] | None, "Class weights in the loss, {3: 2.0, 7: 0.5}; 1 for other classes."
    ]
    label_smoothing: Annotated[float, "The label smoothing, 0 to 1."]


class RowsKeywords(TypedDict, total=False):
    """The data and its preprocessing."""

    preprocess: Annotated[str | None, "Preprocessing, `resize(96, 96); scale(1/127.5, -1)`; default: the model's."]
    classes: Annotated[Sequence[str] | PathLike[str] | str | None, "The class names in order, or a file with them."]
    features: Annotated[str | None, "The features of `.tfrecord` records, if ambiguous."]


class RolesKeywords(TypedDict, total=False):
    """The roles of the graph's tensors, if not detected."""

    inputs: Annotated[Sequence[str] | str | None, "The inputs; a tensor that is not a placeholder becomes one."]
    labels: Annotated[str | None, "The placeholder of the labels."]
    logits: Annotated[str | None, "The tensor that the loss compares with the labels."]
    loss: Annotated[str | None, "The tensor that training minimises."]
    accuracy: Annotated[str | None, "The tensor of the accuracy."]
    training: Annotated[str | None, "The boolean placeholder that is True while training."]
    signature: Annotated[str | None, "The signature of a SavedModel."]


class JudgedKeywords(RowsKeywords, ObjectiveKeywords, RolesKeywords, total=False):
    """The rows, and the roles of the model's tensors."""


class ImageKeywords(TypedDict, total=False):
    """How images are augmented."""

    augment: Annotated[str | None, "Random augmentation of images: `shift(0.1); rotate(15); flip()`."]
    image_shape: Annotated[Sequence[int] | None, "Height, width and channels of flat examples, if not known."]


class TrialKeywords(RecipeKeywords, ObjectiveKeywords, RowsKeywords, RolesKeywords, ImageKeywords, total=False):
    """How a trial of a search is trained."""

    epochs: Annotated[int, "The number of epochs."]
    batch_size: Annotated[int | None, "Examples per step; default 200, less for a new head on few examples."]
    early_stopping: Annotated[int | None, "Stops after this number of epochs without improvement."]
    bn: Annotated[str | None, "Batch normalisation: `train`, `freeze`, `stats`, or `pattern=mode` pairs."]
    dropout: Annotated[ByPattern | None, f"Dropout rate after trained hidden layers, 0 to 1. {_BY_PATTERN}"]
    cache_dir: Annotated[
        PathLike[str] | str | None, "The folder of the feature cache; default: the user's cache folder."
    ]
    threads: Annotated[int | None, "Threads of an op; 1: bit-for-bit reproducible (`configure_tensorflow` first)."]
    seed: Annotated[int, "The random seed."]


class HeldOutKeywords(TypedDict, total=False):
    """The training rows to hold out if the data has no validation rows."""

    valid: Annotated[int | str | None, "Validation examples: 60 or `20%`, `first:5000`, `last:10%`; default: a tenth."]
    group: Annotated[str | None, "The column of groups that the validation split must not divide."]


class RateKeywords(TrialKeywords, HeldOutKeywords, total=False):
    """What a learning rate range test trains."""

    train: Annotated[str | None, "A pattern of the layers to train; all others are frozen."]
    freeze: Annotated[str | None, "A pattern of the layers to freeze."]
    unfreeze: Annotated[str | None, "A pattern of frozen layers of the model to make trainable."]
    cache: Annotated[bool, "Whether to compute the outputs of frozen layers once and store them."]
    cache_augment: Annotated[int | None, "The number of augmented variants of each example to cache."]


class TrainingKeywords(RateKeywords, total=False):
    """The course of a run."""

    stages: Annotated[str | None, "Gradual unfreezing: patterns with epochs, `outputs=3, hidden4=10`."]
    lp_ft: Annotated[int | None, "Epochs to train only the head first."]
    keep: Annotated[Literal["best", "last"], "The epoch to write, by validation loss."]
    save_every: Annotated[str | None, "Saves the run every `500 steps`, `1 epoch` or `10 min`."]
    keep_checkpoints: Annotated[int, "The number of saves to keep."]
    teacher: Annotated[PathLike[str] | str | None, "A model to distil from."]
    temperature: Annotated[float, "The temperature of distillation."]
    teacher_weight: Annotated[float, "The weight of the distillation loss, 0 to 1."]
    training_op: Annotated[str | None, "An existing training op of the graph to train with."]


class PretrainingKeywords(RecipeKeywords, HeldOutKeywords, ImageKeywords, total=False):
    """How a stage of pretraining is trained."""

    preprocess: Annotated[str | None, "Preprocessing, `resize(96, 96); scale(1/127.5, -1)`; default: the model's."]
    features: Annotated[str | None, "The features of `.tfrecord` records, if ambiguous."]
    epochs: Annotated[int, "The number of epochs."]
    batch_size: Annotated[int | None, "Examples per step; default 200."]
    early_stopping: Annotated[int | None, "Stops after this number of epochs without improvement."]
    keep: Annotated[Literal["best", "last"], "The epoch of each stage to keep, by validation loss."]
    cache_dir: Annotated[
        PathLike[str] | str | None, "The folder of the feature cache; default: the user's cache folder."
    ]
    save_every: Annotated[str | None, "Saves the run every `500 steps`, `1 epoch` or `10 min`."]
    keep_checkpoints: Annotated[int, "The number of saves to keep."]
    threads: Annotated[int | None, "Threads of an op; 1: bit-for-bit reproducible (`configure_tensorflow` first)."]
    seed: Annotated[int, "The random seed."]


ROLES = tuple(RolesKeywords.__annotations__)
_OBJECTIVE = tuple(ObjectiveKeywords.__annotations__)


def recipe_of(settings: Mapping[str, Any], recipe: Recipe | None = None) -> Recipe:
    """Return the recipe specified by keywords, based on another."""
    own = {each.name: settings[each.name] for each in fields(Recipe) if each.name in settings}
    return replace(recipe or Recipe(), **own)


def objective_of(settings: Mapping[str, Any], objective: Objective | None = None) -> Objective | None:
    """Return the objective specified by keywords, based on another; None if nothing is specified.

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


def roles_of(settings: Mapping[str, Any], roles: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the roles specified by keywords, which have precedence over a mapping of them.

    >>> roles_of({"inputs": "X", "loss": "loss:0", "epochs": 3}, {"loss": "other:0", "labels": "y"})
    {'loss': 'loss:0', 'labels': 'y', 'inputs': ('X',)}
    """
    given = {name: settings[name] for name in ROLES if settings.get(name)}
    if isinstance(given.get("inputs"), str):
        given["inputs"] = (given["inputs"],)
    return {**(roles or {}), **given}


def rows_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of verbs about rows, from keywords.

    >>> rows_of({"preprocess": "scale(1/255)", "epochs": 3})
    {'preprocess': 'scale(1/255)'}
    """
    return {name: settings[name] for name in RowsKeywords.__annotations__ if name in settings}


def judged_of(settings: Mapping[str, Any], roles: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the arguments of verbs that evaluate a model on rows, from keywords and from a mapping of roles.

    >>> judged_of({"objective": "mse", "preprocess": "scale(1/255)"})["preprocess"]
    'scale(1/255)'
    """
    return {"roles": roles_of(settings, roles), "objective": objective_of(settings), **rows_of(settings)}


def options_of(settings: Mapping[str, Any], options: Options | None = None) -> Options:
    """Return the options specified by keywords, based on others.

    >>> options_of({"lr": 0.01, "epochs": 3, "freeze": "hidden1"}).recipe.rate
    0.01

    Raises:
        PlanError: a value is invalid, or a training op is named too.
    """
    options = options or Options()
    texts = {name: as_pattern_text(settings[name]) for name in ("dropout",) if name in settings}
    named = {each.name for each in fields(Options)} - {"recipe", "objective", "roles"}
    own = {name: value for name, value in {**settings, **texts}.items() if name in named}
    if "image_shape" in own and own["image_shape"] is not None:
        own["image_shape"] = tuple(own["image_shape"])
    said = any(each.name in settings for each in fields(Recipe))
    recipe = recipe_of(settings, options.recipe) if said else options.recipe
    roles = roles_of(settings, options.roles)
    made = replace(options, recipe=recipe, objective=objective_of(settings, options.objective), roles=roles, **own)
    return with_training_op(made, settings.get("training_op"))
