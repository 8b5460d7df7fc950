"""Networks: a new one, one with layers of another, and one with frozen layers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, Unpack

from ckpttool.api.keywords import HeadKeywords, ObjectiveKeywords, objective_of, recipe_of
from ckpttool.api.kinds import ModelLike, Names, PathLike, as_model, as_path, names_of, to_run
from ckpttool.api.made import Made, make
from ckpttool.api.signatures import takes
from ckpttool.core.errors import PlanError
from ckpttool.data.class_files import Classes
from ckpttool.lineage.provenance import Command
from ckpttool.runtime.configure import configure_by_default
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs import freeze as freeze_verb
from ckpttool.verbs import new as new_verb
from ckpttool.verbs import reuse as reuse_verb


class MadeKeywords(HeadKeywords, ObjectiveKeywords, total=False):
    """The training op and the loss of a network."""


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
    """Write a new model: initialised layers with a loss, an accuracy and a training op.

    >>> import ckpttool
    >>> ckpttool.new(784, "hidden1 = dense(300, relu); outputs = dense(10)", "fresh.ckpt", lr=0.01)  # doctest: +SKIP

    Args:
        input_shape: The shape of a row, (28, 28, 1), or the size of a flat row, 784.
        layers: The layers from the input up (SPEC).
        output: The prefix to write, a SavedModel folder, or a `.keras` file.
        recipe: The training keywords as one object; keywords have precedence.
        seed: The random seed of the initial values.
        overwrite: Whether an existing output is overwritten.
        classes: The class names, or the file that contains them.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path.
        preprocess: The preprocessing of rows, stored in the model.

    Raises:
        CkptError: the layers are inconsistent, or the output exists.
    """
    configure_by_default("conv2d(" in layers)
    shape = (input_shape,) if isinstance(input_shape, int) else input_shape
    training, objective = recipe_of(settings, recipe), objective_of(settings)
    plan = new_verb.plan_new(
        shape, layers, recipe=training, seed=seed, objective=objective, classes=classes, to=to, preprocess=preprocess
    )
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
    """Restore the layers of a model that match a pattern, and initialise the rest, including a new head.

    >>> import ckpttool
    >>> new = ckpttool.reuse("old.ckpt", "hidden[123]", "outputs = dense(5)", "new.ckpt")  # doctest: +SKIP

    Args:
        model: A model or its path, which is not changed.
        layers: A pattern of the layers to restore; None restores none.
        head: New layers (SPEC) to add above the last restored one; the layers above it are removed.
        output: The prefix to write, a SavedModel folder, or a `.keras` file.
        after: The layer above which to add the head instead.
        into: Another graph to restore into.
        freeze: A pattern of the layers that training must not change.
        lenient: Whether to newly initialise, and list, variables that do not match.
        require: The minimum percentage of the parameters to restore.
        recipe: The training keywords of the head as one object; keywords have precedence.
        seed: The random seed of newly initialised variables.
        inputs: The tensors that rows are fed to.
        labels: The tensor that labels are fed to.
        classes: The class names of the output, or the file that contains them.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        preprocess: The preprocessing of rows, if not the one stored in the model.
        signature: The signature of a SavedModel.
        ema: Whether the moving averages of the weights are used.
        allow_op: Types of ops that may run although they can have side effects.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CkptError: a pattern matches nothing, the layers are inconsistent, or the output exists.
    """
    if output is None:
        raise PlanError("specify the `output` to write; `plan_reuse` makes a plan alone")
    opened = to_run(model, allow_op, ema) if head else as_model(model, allow_op, ema)
    plan = reuse_verb.plan_reuse(
        opened,
        layers,
        head=head,
        after=after,
        into=None if into is None else as_path(into),
        freeze=freeze,
        lenient=lenient,
        require=require,
        recipe=recipe_of(settings, recipe),
        seed=seed,
        objective=objective_of(settings),
        inputs=names_of(inputs),
        labels=labels,
        classes=classes,
        to=to,
        preprocess=preprocess,
        signature=signature,
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
    """Write a model with some layers frozen in the graph itself.

    Args:
        model: A model or its path, which is not changed.
        layers: A pattern of the layers to freeze.
        output: The prefix to write, a SavedModel folder, or a `.keras` file.
        method: Whether the training op excludes them, or no gradient reaches them.
        unfreeze: A pattern of frozen layers that become trainable again.
        roles: Names of tensors by role, if they are not detected in the graph.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the model.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CkptError: a pattern matches nothing in the graph, or the output exists.
    """
    opened = as_model(model)
    plan = freeze_verb.plan_freeze(opened, layers, method, roles, to, unfreeze)
    return make(plan, as_path(output), overwrite, Command.of_call("freeze", opened.path, output))
