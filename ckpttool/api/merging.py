"""Combining several checkpoints of one model, and extracting the difference of two as an adapter."""

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
    """Return the average of checkpoints of one model, computed lazily; an output is written with its graph.

    Args:
        checkpoints: Paths, checkpoints or models, in order.
        weights: The weight of each; by default the mean.
        decay: The decay of an exponential moving average, 0 to 1, instead.
        lenient: Whether to skip tensors that they do not have in common.
        output: The output.
        last: The number of latest checkpoints to use from the one folder given; requires an output.
        latest: Whether to record the output as the latest checkpoint of its folder.
        to: The family to write, if not that of the output's path, or of the last checkpoint.
        overwrite: Whether an existing output is overwritten.

    Raises:
        PlanError: there are too few checkpoints, they differ in their tensors, or the weights do not match them.
        ExistingOutput: the output exists.
    """
    if output is None:
        if last is not None or latest:
            raise PlanError("`last` and `latest` are for an `output`")
        return average_surgery.average([as_checkpoint(each) for each in checkpoints], weights, decay, lenient)
    paths = [path_of(each) for each in checkpoints]
    plan = average_verb.plan_average(
        paths, as_path(output), weights=weights, decay=decay, last=last, lenient=lenient, latest=latest, to=to
    )
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
    """Return the merger of checkpoints, computed lazily; an output is written with its graph.

    Args:
        checkpoints: Paths, checkpoints or models, in order.
        how: `union`, `intersection`, `linear`, `sum`, `task-arithmetic`, `slerp`, `ties`, `dare`,
            `dare-ties`, `della`, `della-linear`, `breadcrumbs`, `breadcrumbs-ties`, `model-stock`, `nuslerp`,
            `karcher`, `sce`, `ram`, `arcee-fusion`, `nearswap`; `soup` asks rows.
        output: What to write; `soup` and `alpha` need one.
        data: The rows to evaluate on (`soup`, and `alpha`): a path, or in memory.
        overwrite: Whether an existing output is overwritten.
        options: `prefer`, `base`, `weights`, `t`, `density`, `epsilon`, `gamma`, `scale`, `seed`, `lenient`, `vocab`
            (a file of tokens for each, and for the base), `tokens`, `token_rows`,
            `vocab_tensors`; with an output `alpha`, `to`.

    Raises:
        PlanError: the checkpoints differ in their tensors, or the options are inconsistent.
        ExistingOutput: the output exists.
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
    """Write a LoRA adapter in PEFT's format: the change from base to tuned model as low-rank products.

    Args:
        base: The base model, or its path.
        tuned: The tuned model, or its path.
        output: The folder to write, or a file that ends in `.safetensors`.
        rank: The maximum rank of each product; by default the one with the fraction `energy` of its change.
        energy: The fraction of the squared change that a sufficient rank represents; above 0, at most 1.
        layers: A pattern of the weights to compare.
        whole: Whether to store changed tensors that are not matrices as a whole.
        fan_in_fan_out: Whether kernels have their inputs first; by default determined by names and biases.
        lenient: Whether to skip and list changes that an adapter cannot store.
        overwrite: Whether an existing output is overwritten.

    Raises:
        PlanError: nothing changed, or something that an adapter cannot store.
        ExistingOutput: the output exists.
    """
    paths = path_of(base), path_of(tuned)
    plan = extract_verb.plan_extract(
        *paths, rank=rank, energy=energy, layers=layers, whole=whole, fan_in_fan_out=fan_in_fan_out, lenient=lenient
    )
    return make(plan, as_path(output), overwrite, Command.of_call("extract", paths[0], output))
