"""A checkpoint made of a checkpoint, from Python: edited, converted, in several files or one, salvaged."""

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
        like: A file whose structure the output gets (formats of Keras, TensorFlow.js).
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
        like: A file whose structure the output gets (formats of Keras, TensorFlow.js).
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
