"""Checkpoints made from a checkpoint: edited, converted, split, joined, salvaged."""

from collections.abc import Mapping, Sequence
from os import PathLike as OsPath
from pathlib import Path

from ckpttool.api.kinds import CheckpointLike, PathLike, as_checkpoint, as_path, path_of
from ckpttool.api.made import Made, make
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import WrongKind
from ckpttool.formats import registry
from ckpttool.lineage.provenance import Command
from ckpttool.model.checkpoint_plan import format_to_write
from ckpttool.surgery.edits.steps import Step, read_script
from ckpttool.verbs import convert as convert_verb
from ckpttool.verbs import edit as edit_verb
from ckpttool.verbs import join as join_verb
from ckpttool.verbs import salvage as salvage_verb
from ckpttool.verbs import split as split_verb
from ckpttool.verbs.salvage import SalvagePlan

Edits = PathLike | Mapping[str, str] | Sequence[Step | tuple[str, str]]
"""Edits in order, `[("rename", "hidden=>fc"), ("cast", "bfloat16")]`, or the path of a script."""


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
    r"""Write an edited checkpoint, with the graph beside it; edits are applied in order.

    >>> import ckpttool
    >>> ckpttool.edit("old.ckpt", [("rename", r"hidden(\d)=>fc\1")], "new.ckpt")  # doctest: +SKIP

    Args:
        source: A checkpoint or its path, a model, or arrays by name.
        edits: Pairs of an edit's name and value, as on the command line, or the path of a script.
        output: The output; its suffix determines the format.
        slots: Whether patterns also match the optimizer's tensors.
        allow_truncate: Whether `resize` may discard values beyond a smaller size.
        seed: The random seed of new values in `resize`.
        with_graph: Whether the graph beside the checkpoint is written too.
        to: The format to write, if not determined by the output's path.
        like: A file whose structure the output gets (formats of Keras, TensorFlow.js).
        shard_bytes: The maximum bytes per file, if the format allows several files.
        lenient: Whether edits without a match, and tensors that the format cannot store, are skipped and listed.
        overwrite: Whether an existing output is overwritten.

    Raises:
        UnknownName: an edit does not exist, or matches nothing.
        CkptError: an edit is refused, or the output exists.
    """
    opened, place = as_checkpoint(source), as_path(output)
    model = None if like is None else as_path(like)
    target = format_to_write(opened, with_graph, place, to, model)
    plan = edit_verb.plan_edit(
        opened,
        _steps(edits),
        to=target,
        slots=slots,
        allow_truncate=allow_truncate,
        seed=seed,
        with_graph=with_graph,
        lenient=lenient,
        like=model,
        shard_bytes=shard_bytes,
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
    """Write a checkpoint in another format: that of the output's suffix, or `to`.

    Args:
        source: A checkpoint or its path, a model, or arrays by name.
        output: The output.
        to: The format, if not that of the suffix.
        layers: A pattern of the weights to write; all tensors by default.
        drop_slots: Whether the optimizer's tensors are dropped.
        like: A file whose structure the output gets (formats of Keras, TensorFlow.js).
        shard_bytes: The maximum bytes per file, if the format allows several files.
        lenient: Whether tensors that the format cannot store are skipped and listed.
        overwrite: Whether an existing output is overwritten.

    Raises:
        FormatError: the format cannot store a tensor.
        ExistingOutput: the output exists.
    """
    place, model = as_path(output), None if like is None else as_path(like)
    target = registry.for_output(place, to, model).NAME
    given = _as_given(source)
    plan = convert_verb.plan_convert(
        given,
        target,
        layers=layers,
        drop_slots=drop_slots,
        lenient=lenient,
        like=model,
        shard_bytes=shard_bytes,
        named=place if to is None and like is None else None,
    )
    return make(plan, place, overwrite, Command.of_call("convert", _named(given), output))


def split(source: CheckpointLike, shard_bytes: int, output: PathLike, *, overwrite: bool = False) -> Made:
    """Write a checkpoint as several files, with at most `shard_bytes` of tensors each.

    Args:
        source: A checkpoint or its path, a model, or arrays by name.
        shard_bytes: The maximum bytes per file; a larger tensor gets a file of its own.
        output: The output: a bundle, or `.safetensors`.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CkptError: the format does not allow several files, or the output exists.
    """
    given = _as_given(source)
    plan = split_verb.plan_split(given, as_path(output), shard_bytes)
    return make(plan, as_path(output), overwrite, Command.of_call("split", _named(given), output))


def join(source: CheckpointLike, output: PathLike, *, overwrite: bool = False) -> Made:
    """Write a checkpoint whose tensors are in several files as one file.

    Args:
        source: A checkpoint or its path, a model, or arrays by name.
        output: The output: a bundle, or the format of its suffix.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CkptError: the format cannot store a tensor, or the output exists.
    """
    given = _as_given(source)
    plan = join_verb.plan_join(given, as_path(output))
    return make(plan, as_path(output), overwrite, Command.of_call("join", _named(given), output))


def salvage(
    source: PathLike, output: PathLike | None = None, *, to: str | None = None, overwrite: bool = False
) -> SalvagePlan:
    """Write the readable tensors of a damaged checkpoint, and return what is lost and why.

    Args:
        source: The damaged checkpoint.
        output: The output; if not specified, nothing is written.
        to: The format to write, if not that of the output's suffix.
        overwrite: Whether an existing output is overwritten.

    Raises:
        CorruptCheckpoint: nothing can be read.
        ExistingOutput: the output exists.
    """
    place = None if output is None else as_path(output)
    plan = salvage_verb.plan_salvage(as_path(source), place, to)
    if place is not None:
        plan.write(place, overwrite, Command.of_call("salvage", source, output))
    return plan


def _as_given(source: CheckpointLike) -> Path | Checkpoint:
    """Return a path unchanged, and an object of this process as a checkpoint."""
    return as_checkpoint(source) if isinstance(source, Mapping) else path_of(source)


def _named(source: Path | Checkpoint) -> Path | str:
    """Return the name of a source in an output's lineage."""
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
