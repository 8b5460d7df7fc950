"""Weights of other frameworks: importing them into a graph, and exporting a graph's."""

from collections.abc import Collection, Mapping, Sequence
from os import PathLike as OsPath
from pathlib import Path

from ckpttool.api.kinds import ModelLike, PathLike, as_path, path_of
from ckpttool.api.made import Made, make
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.tensors import TOLERANCE, Array, Tensor
from ckpttool.foreign.rules import Rule
from ckpttool.lineage.provenance import Command
from ckpttool.verbs import export_weights as export_verb
from ckpttool.verbs import import_weights as import_verb
from ckpttool.verbs import rules as rules_verb


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
    """Import weights of another framework into a graph's variables, and write the model.

    Args:
        weights: A file of PyTorch, a `.safetensors`, HDF5, `.npz`, or a checkpoint.
        into: The graph to fill, with the checkpoint beside it, if any; or a checkpoint without a graph.
        output: The prefix to write, a SavedModel folder, or a `.keras` file.
        rules: A file of rules, the name of an included set, or rules: which tensor becomes which variable.
        rename: Rules as lines, `RE=>NEW`, applied before the others.
        scope: The scope in the graph into which all tensors are imported.
        reference: Inputs and outputs of the source, a file or arrays by name, which the output must reproduce.
        tolerance: The tolerance against the reference, relative to the largest value.
        lenient: Whether to skip tensors without a variable, while other weights keep the model's values.
        cast: Whether to cast values to the graph's dtypes.
        bake: Whether to write the values into the graph's initialisers too.
        seed: The random seed of newly initialised variables.
        preprocess: The preprocessing of rows, if not the one stored in the source's graph.
        to: The family to write, `ckpt`, `saved-model` or `keras`; else that of the output's path, or of the graph.
        allow_op: Types of ops that may run although they can have side effects.
        overwrite: Whether an existing output is overwritten.

    Raises:
        UnknownName: a rule matches nothing.
        PlanError: names, shapes or dtypes do not match.
        CkptError: it does not reproduce the reference, so nothing is written; or the output exists.
    """
    plan = import_verb.plan_import(
        as_path(weights),
        path_of(into),
        rules=_rules(rules, rename),
        lenient=lenient,
        cast=cast,
        bake=bake,
        seed=seed,
        scope=scope,
        reference=_as_reference(reference),
        tolerance=tolerance,
        allow_op=allow_op,
        to=to,
        preprocess=preprocess,
        output=as_path(output),
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
    """Export a model's weights for another framework, by the rules that import them.

    Args:
        model: A model or its path.
        like: A file of the other framework with the same network, which determines names, shapes and dtypes.
        output: The file to write, `.safetensors`, `.npz` or `.h5`.
        rules: A file of rules, the name of an included set, or rules.
        scope: The scope in the graph from which tensors are exported.
        lenient: Whether to skip tensors without a variable, which keep the values of `like`.
        cast: Whether to cast values to the dtypes of `like`.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CkptError: names, shapes or dtypes do not match, or the output exists.
    """
    source = path_of(model)
    plan = export_verb.plan_export(source, as_path(like), _rules(rules, ()), lenient, cast, scope)
    return make(plan, as_path(output), overwrite, Command.of_call("export", source, output))


def _as_reference(given: PathLike | Mapping[str, Tensor | Array] | None) -> Path | Checkpoint | None:
    """Return a reference in the form that the verb accepts."""
    return Checkpoint.of(given) if isinstance(given, Mapping) else None if given is None else as_path(given)


def _rules(rules: PathLike | Sequence[Rule] | None, rename: Sequence[str]) -> list[Rule]:
    """Return rules: lines first, then the given ones, those of a file, or of an included set."""
    if rules is None or isinstance(rules, (str, OsPath)):
        return rules_verb.rules_of(rename, None if rules is None else Path(rules))
    return [*rules_verb.rules_of(rename, None), *rules]
