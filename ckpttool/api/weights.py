"""Weights from Python: another framework's into a graph, and a graph's out to another framework."""

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
        allow_op: Types of ops that may run though they can have side effects.
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


def _as_reference(given: PathLike | Mapping[str, Tensor | Array] | None) -> Path | Checkpoint | None:
    """Return a reference as the verb takes it."""
    return Checkpoint.of(given) if isinstance(given, Mapping) else None if given is None else as_path(given)


def _rules(rules: PathLike | Sequence[Rule] | None, rename: Sequence[str]) -> list[Rule]:
    """Return rules: lines first, then those that are given, or of a file or a ready set."""
    if rules is None or isinstance(rules, (str, OsPath)):
        return rules_verb.rules_of(rename, None if rules is None else Path(rules))
    return [*rules_verb.rules_of(rename, None), *rules]
