"""Checkpoints that are made of checkpoints, from Python; and two of them compared, or one checked."""

from collections.abc import Mapping, Sequence
from os import PathLike as OsPath
from pathlib import Path
from typing import Any

from ckpttool.api.kinds import CheckpointLike, PathLike, as_checkpoint, as_path, path_of
from ckpttool.api.made import Made, make
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError, WrongKind
from ckpttool.data.files import Source
from ckpttool.data.memory.source import Data, as_source
from ckpttool.formats import registry
from ckpttool.lineage.provenance import Command
from ckpttool.model.checkpoint_plan import format_to_write
from ckpttool.surgery import average as average_surgery
from ckpttool.surgery import diff as diff_surgery
from ckpttool.surgery import merge as merge_surgery
from ckpttool.surgery import verify as verify_surgery
from ckpttool.surgery.diff import Diff
from ckpttool.surgery.edits.steps import Step, read_script
from ckpttool.surgery.merging.vocabulary import Vocabulary
from ckpttool.surgery.verify import Unchanged
from ckpttool.verbs import average as average_verb
from ckpttool.verbs import convert as convert_verb
from ckpttool.verbs import edit as edit_verb
from ckpttool.verbs import extract as extract_verb
from ckpttool.verbs import join as join_verb
from ckpttool.verbs import merge as merge_verb
from ckpttool.verbs import salvage as salvage_verb
from ckpttool.verbs import split as split_verb
from ckpttool.verbs import verify as verify_verb
from ckpttool.verbs.salvage import SalvagePlan
from ckpttool.verbs.verify import Verdict

Edits = PathLike | Mapping[str, str] | Sequence[Step | tuple[str, str]]
"""Edits in their order, `[("rename", "hidden=>fc"), ("cast", "bfloat16")]`, or the path of a script of such."""


def edit(
    source: CheckpointLike,
    edits: Edits,
    output: PathLike,
    *,
    slots: bool = False,
    allow_truncate: bool = False,
    seed: int = 42,
    with_graph: bool = True,
    to: str | None = None,
    like: PathLike | None = None,
    shard_bytes: int | None = None,
    lenient: bool = False,
    overwrite: bool = False,
) -> Made:
    r"""Write a checkpoint edited, with the graph beside it: edits are applied in their order.

    >>> import ckpttool
    >>> ckpttool.edit("old.ckpt", [("rename", r"hidden(\d)=>fc\1")], "new.ckpt")  # doctest: +SKIP

    Args:
        source: A checkpoint or its path, a model, or arrays by name.
        edits: Pairs of an edit's name and its value, as the command line has them, or the path of a script.
        output: What to write; the suffix says the format.
        slots: Whether patterns take the optimizer's tensors too.
        allow_truncate: Whether `resize` may discard what lies beyond a smaller size.
        seed: The random seed of what `resize` draws.
        with_graph: Whether the graph beside the checkpoint goes along.
        to: The format to write, if not what the output's path says.
        like: A file whose structure the output gets (Keras's formats).
        shard_bytes: The most that a file holds, in bytes, where the format has several.
        lenient: Whether edits that take nothing, and tensors that the format cannot hold, are left out and listed.
        overwrite: Whether the output is replaced.

    Raises:
        UnknownName: no edit has the name, or it takes nothing.
        CkptError: an edit is refused, or the output is there already.
    """
    opened, place = as_checkpoint(source), as_path(output)
    model = None if like is None else as_path(like)
    target = format_to_write(opened, with_graph, place, to, model)
    plan = edit_verb.plan_edit(
        opened, _steps(edits), target, slots, allow_truncate, seed, with_graph, lenient, model, shard_bytes
    )
    return make(plan, place, overwrite, Command.of_call("edit", opened.path or "arrays", output))


def convert(
    source: CheckpointLike,
    output: PathLike,
    to: str | None = None,
    *,
    layers: str | None = None,
    drop_slots: bool = False,
    like: PathLike | None = None,
    shard_bytes: int | None = None,
    lenient: bool = False,
    overwrite: bool = False,
) -> Made:
    """Write a checkpoint in another format: that of the output's suffix, or the one that is named.

    Args:
        source: A checkpoint or its path, a model, or arrays by name.
        output: What to write.
        to: The format, if not that of the suffix.
        layers: A pattern of the weights to write; all tensors if not given.
        drop_slots: Whether the optimizer's tensors are left out.
        like: A file whose structure the output gets (Keras's formats).
        shard_bytes: The most that a file holds, in bytes, where the format has several.
        lenient: Whether tensors that the format cannot hold are left out and listed.
        overwrite: Whether the output is replaced.

    Raises:
        FormatError: the format cannot hold a tensor.
        ExistingOutput: the output is there already.
    """
    place, model = as_path(output), None if like is None else as_path(like)
    target = registry.for_output(place, to, model).NAME
    given = _as_given(source)
    plan = convert_verb.plan_convert(given, target, layers, drop_slots, lenient, model, shard_bytes)
    return make(plan, place, overwrite, Command.of_call("convert", _named(given), output))


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


def split(source: CheckpointLike, shard_bytes: int, output: PathLike, *, overwrite: bool = False) -> Made:
    """Write a checkpoint in several files, of at most so many bytes of tensors each.

    Args:
        source: A checkpoint or its path, a model, or arrays by name.
        shard_bytes: The most that a file holds, in bytes; a larger tensor has a file to itself.
        output: What to write: a bundle, or `.safetensors`.
        overwrite: Whether the output is replaced.

    Raises:
        CkptError: the format has one file only, or the output is there already.
    """
    given = _as_given(source)
    plan = split_verb.plan_split(given, as_path(output), shard_bytes)
    return make(plan, as_path(output), overwrite, Command.of_call("split", _named(given), output))


def join(source: CheckpointLike, output: PathLike, *, overwrite: bool = False) -> Made:
    """Write a checkpoint whose tensors are in several files as one.

    Args:
        source: A checkpoint or its path, a model, or arrays by name.
        output: What to write: a bundle, or the format of the suffix.
        overwrite: Whether the output is replaced.

    Raises:
        CkptError: the format cannot hold a tensor, or the output is there already.
    """
    given = _as_given(source)
    plan = join_verb.plan_join(given, as_path(output))
    return make(plan, as_path(output), overwrite, Command.of_call("join", _named(given), output))


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
        how: `union`, `intersection`, `linear`, `sum`, `task-arithmetic`, `slerp`, `ties`, `dare`; `soup` asks rows.
        output: What to write; `soup` and `alpha` need one.
        data: The rows that judge (`soup`, and `alpha`): a path, or in memory.
        overwrite: Whether the output is replaced.
        options: `prefer`, `base`, `weights`, `t`, `density`, `scale`, `seed`, `lenient`, `vocab` (a file of tokens for
            each, and for the base), `tokens`, `vocab_tensors`; with an output `alpha`, `to`.

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


def salvage(
    source: PathLike, output: PathLike | None = None, *, to: str | None = None, overwrite: bool = False
) -> SalvagePlan:
    """Write what can be read of a damaged checkpoint as a whole one, and return what is lost and why.

    Args:
        source: The damaged checkpoint.
        output: What to write; nothing, if not given.
        to: The format to write, if not that of the output's suffix.
        overwrite: Whether the output is replaced.

    Raises:
        CorruptCheckpoint: nothing of it can be read.
        ExistingOutput: the output is there already.
    """
    place = None if output is None else as_path(output)
    plan = salvage_verb.plan_salvage(as_path(source), place, to)
    if place is not None:
        plan.write(place, overwrite, Command.of_call("salvage", source, output))
    return plan


def diff(a: CheckpointLike, b: CheckpointLike, kind: Mapping[str, str] | None = None) -> Diff:
    """Compare two checkpoints tensor by tensor, by value.

    >>> import numpy as np
    >>> result = diff({"fc/bias": np.array([1.0, 2.0])}, {"fc/bias": np.array([1.0, 2.5])})
    >>> result.changed[0].max_abs, result.equal
    (0.5, False)

    Args:
        a: A path, a checkpoint, a model, or arrays by name.
        b: Likewise.
        kind: What is a weight, where more than the names is known.

    Raises:
        MissingFile: one of them is not there.
    """
    return diff_surgery.diff(as_checkpoint(a), as_checkpoint(b), kind)


def verify(
    path: CheckpointLike, unchanged: tuple[str, CheckpointLike] | None = None, against: PathLike | None = None
) -> Verdict:
    """Check every checksum and every rule of a checkpoint's format, and the graph beside it.

    Args:
        path: A checkpoint or a graph.
        unchanged: A pattern, and another checkpoint, whose tensors must have the same bytes in this one.
        against: A SHA-256, or the file of a lineage, that tells which file it is to be.

    Raises:
        MissingFile: there is no checkpoint.
        FormatError: its format is not read.
    """
    same = None if unchanged is None else (unchanged[0], path_of(unchanged[1]))
    return verify_verb.verdict(path_of(path), same, against=None if against is None else str(against))


def unchanged(a: CheckpointLike, b: CheckpointLike, pattern: str) -> Unchanged:
    """Compare the bytes of the tensors of `a` that a pattern takes with those of `b`.

    >>> import numpy as np
    >>> unchanged({"hidden1/bias": np.zeros(2)}, {"hidden1/bias": np.zeros(2)}, "hidden1").same
    ('hidden1/bias',)

    Args:
        a: A path, a checkpoint, a model, or arrays by name.
        b: Likewise.
        pattern: Which tensors.

    Raises:
        UnknownName: the pattern takes nothing of `a`.
    """
    return verify_surgery.unchanged(as_checkpoint(a), as_checkpoint(b), pattern)


def _as_given(source: CheckpointLike) -> Path | Checkpoint:
    """Return a path as it is, and what was made in this process as a checkpoint."""
    return as_checkpoint(source) if isinstance(source, Mapping) else path_of(source)


def _named(source: Path | Checkpoint) -> Path | str:
    """Return what stands for a source in an output's lineage."""
    return source if isinstance(source, Path) else source.path or "arrays"


def _steps(edits: Edits) -> list[Step]:
    """Return edits as steps.

    Raises:
        WrongKind: one is no pair of texts.
    """
    if isinstance(edits, (str, OsPath)):
        return read_script(Path(edits))
    pairs = list(edits.items()) if isinstance(edits, Mapping) else list(edits)
    steps = []
    for each in pairs:
        if isinstance(each, Step):
            steps.append(each)
            continue
        if not (isinstance(each, tuple) and len(each) in (1, 2) and all(isinstance(text, str) for text in each)):
            raise WrongKind(f"`edits`: expected pairs such as ('rename', 'hidden=>fc'), found {each!r}")
        name, text = each[0].replace("_", "-"), each[1] if len(each) > 1 else ""
        steps.append(Step(name, text, f"{name} {text!r}"))
    return steps
