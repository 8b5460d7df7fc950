"""Models that are made of models, from Python: each function writes its output, reads it back, and returns both."""

from collections.abc import Collection, Mapping, Sequence
from os import PathLike as OsPath
from pathlib import Path
from typing import Any, Literal, Unpack

from ckpttool.api.keywords import (
    HeadKeywords,
    ObjectiveKeywords,
    objective_of,
    recipe_of,
    takes,
)
from ckpttool.api.kinds import ModelLike, PathLike, as_model, as_path, path_of, to_run
from ckpttool.api.made import Made, make
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.notebooks import Rows
from ckpttool.core.tensors import Array, Tensor
from ckpttool.data.class_files import Classes
from ckpttool.foreign.rules import Rule
from ckpttool.lineage.provenance import Command
from ckpttool.runtime.configure import configure_by_default
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs import collections as collections_verb
from ckpttool.verbs import export_saved_model as saved_model_verb
from ckpttool.verbs import export_weights as export_verb
from ckpttool.verbs import fold as fold_verb
from ckpttool.verbs import freeze as freeze_verb
from ckpttool.verbs import import_weights as import_verb
from ckpttool.verbs import modernize as modernize_verb
from ckpttool.verbs import new as new_verb
from ckpttool.verbs import reuse as reuse_verb
from ckpttool.verbs import rules as rules_verb
from ckpttool.verbs import strip as strip_verb
from ckpttool.verbs.reference import TOLERANCE

Names = Sequence[str] | str
"""Names of tensors, also `NAME=TENSOR` and with a shape, `X[?,28,28,1]`; one alone may be text."""


class MadeKeywords(HeadKeywords, ObjectiveKeywords, total=False):
    """What a network is trained with, and for."""


@takes(MadeKeywords)
def new(
    input_shape: Sequence[int] | int,
    layers: str,
    output: PathLike,
    recipe: Recipe | None = None,
    seed: int = 42,
    overwrite: bool = False,
    *,
    classes: Classes = None,
    to: str | None = None,
    preprocess: str | None = None,
    **settings: Unpack[MadeKeywords],
) -> Made:
    """Write a fresh model: its layers initialised, with loss, accuracy and a training op.

    >>> import ckpttool
    >>> ckpttool.new(784, "hidden1 = dense(300, relu); outputs = dense(10)", "fresh.ckpt", lr=0.01)  # doctest: +SKIP

    Args:
        input_shape: The shape of a row, (28, 28, 1), or the size of one of numbers, 784.
        layers: The layers from the input up (SPEC).
        output: The prefix to write, a SavedModel's folder, or a `.keras` file.
        recipe: What keywords would say of training, as one value; they come before it.
        seed: The random seed of the initial values.
        overwrite: Whether what lies at `output` is replaced.
        classes: Names of the classes, or the file that has them.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path.
        preprocess: What is done to rows, kept with the model.

    Raises:
        CkptError: the layers do not fit, or the output is there already.
    """
    configure_by_default("conv2d(" in layers)
    shape = (input_shape,) if isinstance(input_shape, int) else input_shape
    training, objective = recipe_of(settings, recipe), objective_of(settings)
    plan = new_verb.plan_new(shape, layers, training, seed, objective, classes, to, preprocess)
    return make(plan, as_path(output), overwrite, Command.of_call("new", layers, output))


@takes(MadeKeywords)
def reuse(
    model: ModelLike,
    layers: str | None,
    head: str | None = None,
    output: PathLike | None = None,
    *,
    after: str | None = None,
    into: PathLike | None = None,
    freeze: str | None = None,
    lenient: bool = False,
    require: float = 0.0,
    recipe: Recipe | None = None,
    seed: int = 42,
    inputs: Names = (),
    labels: str | None = None,
    classes: Classes = None,
    to: str | None = None,
    preprocess: str | None = None,
    signature: str | None = None,
    ema: bool = False,
    allow_op: Collection[str] = (),
    overwrite: bool = False,
    **settings: Unpack[MadeKeywords],
) -> Made:
    """Restore the layers of a model that a pattern takes, and initialise the rest, a new head among it.

    >>> import ckpttool
    >>> new = ckpttool.reuse("old.ckpt", "hidden[123]", "outputs = dense(5)", "new.ckpt")  # doctest: +SKIP

    Args:
        model: A model or its path, which is not changed.
        layers: A pattern of the layers to restore; None restores none.
        head: New layers (SPEC) to put on above the last restored one; the rest is cut off.
        output: The prefix to write, a SavedModel's folder, or a `.keras` file.
        after: The layer to put the head on instead.
        into: Another graph to restore into.
        freeze: A pattern of the layers that training must not change.
        lenient: Whether variables that do not fit are left fresh, and listed.
        require: The least share of the parameters to restore, in percent.
        recipe: What keywords would say of the head's training, as one value; they come before it.
        seed: The random seed of what starts fresh.
        inputs: Where rows are fed.
        labels: Where labels are fed.
        classes: Names of the classes of what is written, or the file that has them.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        preprocess: What is done to rows, if not what the model keeps.
        signature: The signature by which a SavedModel is called.
        ema: Whether the moving averages of the weights are taken.
        allow_op: Types of ops that may run though they may do more than compute.
        overwrite: Whether what lies at `output` is replaced.

    Raises:
        CkptError: a pattern takes nothing, something does not fit, or the output is there already.
    """
    if output is None:
        raise PlanError("specify the `output` to write; `plan_reuse` makes a plan alone")
    opened = to_run(model, allow_op, ema) if head else as_model(model, allow_op, ema)
    plan = reuse_verb.plan_reuse(
        opened,
        layers,
        head,
        after,
        None if into is None else as_path(into),
        freeze,
        lenient,
        require,
        recipe_of(settings, recipe),
        seed,
        objective_of(settings),
        _names(inputs),
        labels,
        classes,
        to,
        preprocess,
        signature,
    )
    return make(plan, as_path(output), overwrite, Command.of_call("reuse", opened.path, output))


def freeze(
    model: ModelLike,
    layers: str | None,
    output: PathLike,
    method: Literal["var-list", "stop-gradient"] = "var-list",
    *,
    unfreeze: str | None = None,
    roles: Mapping[str, Any] | None = None,
    to: str | None = None,
    overwrite: bool = False,
) -> Made:
    """Write a model with chosen layers frozen, in the graph itself.

    Args:
        model: A model or its path, which is not changed.
        layers: A pattern of the layers to freeze.
        output: The prefix to write, a SavedModel's folder, or a `.keras` file.
        method: How: the training op leaves them out, or no gradient reaches them.
        unfreeze: A pattern of layers that are frozen, to be trainable again.
        roles: Names of tensors by role, where they are not found in the graph.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        overwrite: Whether what lies at `output` is replaced.

    Raises:
        CkptError: the layers do not fit the graph, or the output is there already.
    """
    opened = as_model(model)
    plan = freeze_verb.plan_freeze(opened, layers, method, roles, to, unfreeze)
    return make(plan, as_path(output), overwrite, Command.of_call("freeze", opened.path, output))


def strip(
    model: ModelLike,
    output: PathLike,
    inputs: Names = (),
    outputs: Names = (),
    *,
    signature: str | None = None,
    to: str | None = None,
    ema: bool = False,
    overwrite: bool = False,
) -> Made:
    """Write only what the outputs of a model need from its inputs.

    Args:
        model: A model or its path, which is not changed.
        output: The prefix to write, a SavedModel's folder, or a `.keras` file.
        inputs: What is fed; the placeholders that the outputs need, if not given.
        outputs: What is asked for; a signature's outputs, else the logits, if not given.
        signature: The signature that says both.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        ema: Whether the moving averages of the weights are taken.
        overwrite: Whether what lies at `output` is replaced.

    Raises:
        CkptError: a name is not there, or the output is there already.
    """
    opened = as_model(model, ema=ema)
    plan = strip_verb.plan_strip(opened, _names(inputs), _names(outputs), to, signature)
    return make(plan, as_path(output), overwrite, Command.of_call("strip", opened.path, output))


def fold(
    model: ModelLike,
    output: PathLike,
    inputs: Names = (),
    outputs: Names = (),
    *,
    signature: str | None = None,
    ema: bool = False,
    overwrite: bool = False,
) -> Made:
    """Write what computes the outputs of a model as one frozen GraphDef, a `.pb` without variables.

    Args:
        model: A model or its path, which is not changed.
        output: The file to write.
        inputs: What is fed; the placeholders that the outputs need, if not given.
        outputs: What is asked for; a signature's outputs, else the logits, if not given.
        signature: The signature that says both.
        ema: Whether the moving averages of the weights are taken.
        overwrite: Whether what lies at `output` is replaced.

    Raises:
        CkptError: a name is not there, or the output is there already.
    """
    opened = as_model(model, ema=ema)
    plan = fold_verb.plan_fold(opened, _names(inputs), _names(outputs), signature)
    return make(plan, as_path(output), overwrite, Command.of_call("fold", opened.path, output))


def export_saved_model(
    model: ModelLike,
    output: PathLike,
    inputs: Names = (),
    outputs: Names = (),
    *,
    signature: str = "serving_default",
    preprocess: str | None = None,
    with_preprocessing: bool = False,
    ema: bool = False,
    overwrite: bool = False,
) -> Made:
    """Write what computes the outputs of a model as a SavedModel, with a signature.

    Args:
        model: A model or its path, which is not changed.
        output: The folder to write.
        inputs: What is fed; the placeholders that the outputs need, if not given.
        outputs: What is asked for; a signature's outputs, else the logits, if not given.
        signature: The name of the signature.
        preprocess: What is done to rows, if not what the model keeps.
        with_preprocessing: Whether the graph takes raw rows.
        ema: Whether the moving averages of the weights are taken.
        overwrite: Whether what lies at `output` is replaced.

    Raises:
        CkptError: a name is not there, or the output is there already.
    """
    opened = to_run(model, ema=ema) if with_preprocessing else as_model(model, ema=ema)
    plan = saved_model_verb.plan_saved_model(
        opened, _names(inputs), _names(outputs), signature, preprocess, with_preprocessing
    )
    return make(plan, as_path(output), overwrite, Command.of_call("export-saved-model", opened.path, output))


def modernize(model: ModelLike, output: PathLike, *, to: str | None = None, overwrite: bool = False) -> Made:
    """Write a TensorFlow 1 model with resource variables in place of its reference variables.

    Args:
        model: A model or its path, which is not changed.
        output: The prefix to write.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        overwrite: Whether what lies at `output` is replaced.

    Raises:
        CkptError: an op needs a reference and has no other form, or the output is there already.
    """
    opened = as_model(model)
    plan = modernize_verb.plan_modernize(opened, to)
    return make(plan, as_path(output), overwrite, Command.of_call("modernize", opened.path, output))


def _as_reference(given: PathLike | Mapping[str, Tensor | Array] | None) -> Path | Checkpoint | None:
    """Return a reference as the verb takes it."""
    return Checkpoint.of(given) if isinstance(given, Mapping) else None if given is None else as_path(given)


def import_weights(
    weights: PathLike,
    into: ModelLike,
    output: PathLike,
    rules: PathLike | Sequence[Rule] | None = None,
    *,
    rename: Sequence[str] = (),
    scope: str = "",
    reference: PathLike | Mapping[str, Tensor | Array] | None = None,
    tolerance: float = TOLERANCE,
    lenient: bool = False,
    cast: bool = False,
    bake: bool = False,
    seed: int = 42,
    preprocess: str | None = None,
    to: str | None = None,
    allow_op: Collection[str] = (),
    overwrite: bool = False,
) -> Made:
    """Write weights of another framework into a graph's variables, as a model with a checkpoint.

    Args:
        weights: A file of PyTorch, a `.safetensors`, HDF5, `.npz`, or a checkpoint.
        into: The graph to fill, with the checkpoint beside it, if there is one; or a checkpoint without a graph.
        output: The prefix to write, a SavedModel's folder, or a `.keras` file.
        rules: A file of rules, a ready set's name, or rules: which tensor becomes which variable.
        rename: Rules as lines, `RE=>NEW`, before the others.
        scope: A prefix of the graph's names, below which every tensor is put.
        reference: What the source computed, a file or arrays by name, which the output must compute too.
        tolerance: How far numbers may be from the reference's, relative to the largest.
        lenient: Whether tensors without a variable are left out, and other weights keep the model's values.
        cast: Whether numbers may change their dtype to the graph's.
        bake: Whether the values are also written into the graph's initialisers.
        seed: The random seed of what starts fresh.
        preprocess: What is done to rows, if not as the weights' own graph keeps.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the graph.
        allow_op: Types of ops that may run though they may do more than compute.
        overwrite: Whether what lies at `output` is replaced.

    Raises:
        UnknownName: a rule was used for nothing.
        PlanError: something does not fit.
        CkptError: it does not compute what the reference says, and nothing is written; or the output is there already.
    """
    plan = import_verb.plan_import(
        as_path(weights),
        path_of(into),
        _rules(rules, rename),
        lenient,
        cast,
        bake,
        seed,
        scope,
        _as_reference(reference),
        tolerance,
        allow_op,
        to,
        preprocess,
        as_path(output),
    )
    return make(plan, as_path(output), overwrite, Command.of_call("import", weights, output))


def export(
    model: ModelLike,
    like: PathLike,
    output: PathLike,
    rules: PathLike | Sequence[Rule] | None = None,
    *,
    scope: str = "",
    lenient: bool = False,
    cast: bool = False,
    overwrite: bool = False,
) -> Made:
    """Write a model's weights for another framework, by the rules that import them.

    Args:
        model: A model or its path.
        like: A file of the other framework with the same network: names, shapes and dtypes are as there.
        output: The file to write, `.safetensors`, `.npz` or `.h5`.
        rules: A file of rules, a ready set's name, or rules.
        scope: A prefix of the graph's names, below which everything is.
        lenient: Whether tensors without a variable are left out; they keep the values of `like`.
        cast: Whether numbers may change their dtype to that of `like`.
        overwrite: Whether the output is replaced.

    Raises:
        CkptError: something does not fit, or the output is there already.
    """
    source = path_of(model)
    plan = export_verb.plan_export(source, as_path(like), _rules(rules, ()), lenient, cast, scope)
    return make(plan, as_path(output), overwrite, Command.of_call("export", source, output))


def collections(
    model: ModelLike,
    key: str | None = None,
    names: Sequence[str] = (),
    output: PathLike | None = None,
    *,
    overwrite: bool = False,
) -> Rows | Made:
    """Return the collections of a graph, or add names of ops and tensors to one and write a new `.meta`.

    Args:
        model: A model or its path.
        key: The collection to add to; all are returned if not given.
        names: What to add, ops (`GradientDescent`) and tensors (`X:0`).
        output: The `.meta` to write.
        overwrite: Whether it is replaced.

    Raises:
        UnknownName: the graph has no such op or tensor.
        ExistingOutput: the output is there already.
    """
    source = path_of(model)
    if key is None:
        return Rows(collections_verb.collection_rows(source), f"collections of {source}")
    if output is None or not names:
        raise PlanError("`key`, the `names` to add, and an `output` belong together")
    plan = collections_verb.plan_names(source, key, names)
    return make(plan, as_path(output), overwrite, Command.of_call("collections", source, output))


def _rules(rules: PathLike | Sequence[Rule] | None, rename: Sequence[str]) -> list[Rule]:
    """Return rules: lines first, then those that are given, or of a file or a ready set."""
    if rules is None or isinstance(rules, (str, OsPath)):
        return rules_verb.rules_of(rename, None if rules is None else Path(rules))
    return [*rules_verb.rules_of(rename, None), *rules]


def _names(names: Names) -> Sequence[str]:
    return [names] if isinstance(names, str) else names
