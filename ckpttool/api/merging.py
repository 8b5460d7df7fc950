"""Several checkpoints of one model made one, from Python; and an adapter of what one changed of another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckpttool.api.kinds import CheckpointLike, PathLike, as_checkpoint, as_path, path_of
from ckpttool.api.made import Made, make
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.data.files import Source
from ckpttool.data.memory.source import Data, as_source
from ckpttool.lineage.provenance import Command
from ckpttool.surgery import average as average_surgery
from ckpttool.surgery import merge as merge_surgery
from ckpttool.surgery.merging.vocabulary import Vocabulary
from ckpttool.verbs import average as average_verb
from ckpttool.verbs import extract as extract_verb
from ckpttool.verbs import merge as merge_verb


def average(
    checkpoints: Sequence[CheckpointLike],
    weights: Sequence[float] | None = None,
    decay: float | None = None,
    lenient: bool = False,
    *,
    output: PathLike | None = None,
    last: int | None = None,
    latest: bool = False,
    to: str | None = None,
    overwrite: bool = False,
) -> Checkpoint:
    """Return the average of checkpoints of one model, computed as it is read; an output is written, with its graph.

    Args:
        checkpoints: Paths, checkpoints or models, in the order in which they count.
        weights: How much each counts; the mean if not given.
        decay: That of a moving average, 0 to 1, instead.
        lenient: Whether weights on which they do not agree are left out.
        output: What to write.
        last: How many of the checkpoints of most steps to take of the one folder that is named; for an output.
        latest: Whether the output becomes the latest checkpoint of its folder.
        to: The family to write, if not that of the output's path, or of the last checkpoint.
        overwrite: Whether the output is replaced.

    Raises:
        PlanError: there are too few checkpoints, they do not agree, or the weights do not fit.
        ExistingOutput: the output is there already.
    """
    if output is None:
        if last is not None or latest:
            raise PlanError("`last` and `latest` are for an `output`")
        return average_surgery.average([as_checkpoint(each) for each in checkpoints], weights, decay, lenient)
    paths = [path_of(each) for each in checkpoints]
    plan = average_verb.plan_average(paths, as_path(output), weights, decay, last, lenient, latest, to)
    return as_checkpoint(make(plan, as_path(output), overwrite, Command.of_call("average", paths[-1], output)))


def merge(
    checkpoints: Sequence[CheckpointLike],
    how: str = "union",
    *,
    output: PathLike | None = None,
    data: Data | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Checkpoint:
    """Return checkpoints as one, computed as it is read; with an output it is written, with its graph.

    Args:
        checkpoints: Paths, checkpoints or models, in the order in which they count.
        how: `union`, `intersection`, `linear`, `sum`, `task-arithmetic`, `slerp`, `ties`, `dare`,
            `breadcrumbs`, `model-stock`; `soup` asks rows.
        output: What to write; `soup` and `alpha` need one.
        data: The rows that judge (`soup`, and `alpha`): a path, or in memory.
        overwrite: Whether the output is replaced.
        options: `prefer`, `base`, `weights`, `t`, `density`, `gamma`, `scale`, `seed`, `lenient`, `vocab` (a file of
            tokens for each, and for the base), `tokens`, `vocab_tensors`; with an output `alpha`, `to`.

    Raises:
        PlanError: they do not agree, or the options do not fit.
        ExistingOutput: the output is there already.
    """
    if output is None:
        if data is not None:
            raise PlanError("what rows decide is written: specify an `output`")
        if "base" in options:
            options["base"] = as_checkpoint(options["base"])
        options["vocab"] = [Vocabulary.read(Path(each)) for each in options.get("vocab") or ()]
        return merge_surgery.merge([as_checkpoint(each) for each in checkpoints], how, **options)
    paths = [path_of(each) for each in checkpoints]
    if options.get("base") is not None:
        options["base"] = path_of(options["base"])
    rows: Source | None = None if data is None else as_source(data)
    plan = merge_verb.plan_merge(paths, as_path(output), how, data=rows, **options)
    return as_checkpoint(make(plan, as_path(output), overwrite, Command.of_call("merge", paths[-1], output)))


def extract(
    base: CheckpointLike,
    tuned: CheckpointLike,
    output: PathLike,
    *,
    rank: int | None = None,
    energy: float = extract_verb.ENERGY,
    layers: str | None = None,
    whole: bool = False,
    fan_in_fan_out: bool | None = None,
    lenient: bool = False,
    overwrite: bool = False,
) -> Made:
    """Write a LoRA adapter in PEFT's format: what a tuned model changed of its base, as products of low rank.

    Args:
        base: The path of the model that was tuned, or the model.
        tuned: What became of it.
        output: The folder to write, or a file that ends in `.safetensors`.
        rank: The rank of each product, at most; if not given, the one that has the share `energy` of its change.
        energy: The share of a change, in squares, that a rank has which would do; above 0, at most 1.
        layers: A pattern of the weights that are looked at.
        whole: Whether what moved and is no matrix is stored whole.
        fan_in_fan_out: Whether kernels have their inputs first; by default names and biases tell.
        lenient: Whether what an adapter does not hold is left out and listed.
        overwrite: Whether the output is replaced.

    Raises:
        PlanError: nothing moved, or something that an adapter does not hold.
        ExistingOutput: the output is there already.
    """
    paths = path_of(base), path_of(tuned)
    plan = extract_verb.plan_extract(*paths, rank, energy, layers, whole, fan_in_fan_out, lenient)
    return make(plan, as_path(output), overwrite, Command.of_call("extract", paths[0], output))
