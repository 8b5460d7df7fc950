"""Graphs: stripped, folded, modernised, exported as a SavedModel; and their collections."""

from collections.abc import Sequence

from ckpttool.api.kinds import ModelLike, Names, PathLike, as_model, as_path, names_of, path_of, to_run
from ckpttool.api.made import Made, make
from ckpttool.core.errors import PlanError
from ckpttool.core.notebooks import Rows
from ckpttool.lineage.provenance import Command
from ckpttool.verbs import collections as collections_verb
from ckpttool.verbs import export_saved_model as saved_model_verb
from ckpttool.verbs import fold as fold_verb
from ckpttool.verbs import modernize as modernize_verb
from ckpttool.verbs import strip as strip_verb


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
        output: The prefix to write, a SavedModel folder, or a `.keras` file.
        inputs: The inputs; by default the placeholders that the outputs need.
        outputs: The outputs; by default those of a signature, else the logits.
        signature: The signature that defines both.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        ema: Whether the moving averages of the weights are used.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CkptError: a name does not exist, or the output exists.
    """
    opened = as_model(model, ema=ema)
    plan = strip_verb.plan_strip(opened, names_of(inputs), names_of(outputs), to, signature)
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
    """Write the part of a model that computes its outputs as one frozen GraphDef, a `.pb` without variables.

    Args:
        model: A model or its path, which is not changed.
        output: The file to write.
        inputs: The inputs; by default the placeholders that the outputs need.
        outputs: The outputs; by default those of a signature, else the logits.
        signature: The signature that defines both.
        ema: Whether the moving averages of the weights are used.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CkptError: a name does not exist, or the output exists.
    """
    opened = as_model(model, ema=ema)
    plan = fold_verb.plan_fold(opened, names_of(inputs), names_of(outputs), signature)
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
    """Write the part of a model that computes its outputs as a SavedModel with a signature.

    Args:
        model: A model or its path, which is not changed.
        output: The folder to write.
        inputs: The inputs; by default the placeholders that the outputs need.
        outputs: The outputs; by default those of a signature, else the logits.
        signature: The name of the signature.
        preprocess: The preprocessing of rows, if not the one stored in the model.
        with_preprocessing: Whether preprocessing becomes part of the graph, which then accepts raw rows.
        ema: Whether the moving averages of the weights are used.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CkptError: a name does not exist, or the output exists.
    """
    opened = to_run(model, ema=ema) if with_preprocessing else as_model(model, ema=ema)
    plan = saved_model_verb.plan_saved_model(
        opened, names_of(inputs), names_of(outputs), signature, preprocess, with_preprocessing
    )
    return make(plan, as_path(output), overwrite, Command.of_call("export-saved-model", opened.path, output))


def modernize(model: ModelLike, output: PathLike, *, to: str | None = None, overwrite: bool = False) -> Made:
    """Write a TensorFlow 1 model with resource variables in place of its reference variables.

    Args:
        model: A model or its path, which is not changed.
        output: The prefix to write.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CkptError: an op requires a reference variable, or the output exists.
    """
    opened = as_model(model)
    plan = modernize_verb.plan_modernize(opened, to)
    return make(plan, as_path(output), overwrite, Command.of_call("modernize", opened.path, output))


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
        key: The collection to add to; by default all are returned.
        names: The names to add, of ops (`GradientDescent`) and tensors (`X:0`).
        output: The `.meta` to write.
        overwrite: Whether an existing file is overwritten.

    Raises:
        UnknownName: the graph does not contain an op or tensor.
        ExistingOutput: the output exists.
    """
    source = path_of(model)
    if key is None:
        return Rows(collections_verb.collection_rows(source), f"collections of {source}")
    if output is None or not names:
        raise PlanError("`key`, the `names` to add, and an `output` belong together")
    plan = collections_verb.plan_names(source, key, names)
    return make(plan, as_path(output), overwrite, Command.of_call("collections", source, output))
