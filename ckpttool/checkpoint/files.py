"""Opening and saving checkpoints: the format of a file is detected, and outputs are written atomically."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ckpttool.catalogue.local_files import local
from ckpttool.checkpoint.checkpoint import Checkpoint
from ckpttool.checkpoint.named_tensors import as_tensors
from ckpttool.core.errors import FormatError, PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Format, Writing
from ckpttool.formats.reading.unmixed import unmixed
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.lineage.carrying import carried
from ckpttool.lineage.output import KEY, staged_output
from ckpttool.lineage.provenance import UNKNOWN, Command, Provenance
from ckpttool.lineage.source_file import SourceFile
from ckpttool.remote.paths import refuse_url


def open(path: Path | str) -> Checkpoint:  # noqa: A001
    """Open a checkpoint: a prefix, one of its files, a folder, a SavedModel, a file of any format, or a URL.

    Raises:
        MissingFile: the path does not exist.
        FormatError: it is not a checkpoint, or its format is not supported.
        CorruptCheckpoint: its index is damaged.
        CkptError: a server refuses the request, or cannot be reached.
    """
    path = local(path)
    return unmixed(path, lambda: _opened(path))


def _opened(path: Path) -> Checkpoint:
    format_ = registry.find(path)
    tensors = format_.open(path)
    return Checkpoint(
        tensors,
        prefix_of(path),
        format=format_.NAME,
        metadata={key: text for key, text in tensors.metadata.items() if key != KEY},
        left_out=tensors.left_out,
        stated=tensors.kinds,
        provenance=Provenance.of_file(SourceFile.of_checkpoint(path, format_, tensors)),
    )


def save(
    tensors: Mapping[str, Tensor] | Mapping[str, Array],
    path: Path | str,
    format: str | None = None,  # noqa: A002
    overwrite: bool = False,
    how: Writing = PLAIN,
    command: Command | None = None,
) -> None:
    """Write tensors or arrays one at a time, in the given format, else that of the path's suffix, else as a bundle.

    `how` has options of formats: metadata, a file whose structure is copied (and whose format is used if neither a name
    nor a suffix determines one), the size of shards. The write is atomic: at any moment either the old or the new
    output is complete. The new one is read back before it replaces the old. An object graph is only written to formats
    that use it. The output contains its lineage: the source files, the edits, and the `command`.

    Raises:
        ExistingOutput: the output exists and `overwrite` is false.
        FormatError: the format cannot store a tensor.
        PlanError: more edits of a tensor follow one another than can be computed at once.
        CkptError: the path is a URL.
    """
    path = Path(path)
    refuse_url(path)
    provenance = UNKNOWN
    if isinstance(tensors, Checkpoint):
        how, provenance = replace(how, source=tensors.path, origins=tensors.origins), tensors.provenance
    target = registry.for_output(path, format, how.like)
    with staged_output(path, target, overwrite) as place, carried(provenance, command, place, target, how) as carrying:
        named = storable(tensors, target) if isinstance(tensors, Checkpoint) else as_tensors(tensors)
        for name, tensor in named.items():
            if (why := target.why_not_shape(tensor)) is not None:
                raise FormatError(f"{path}: {name} is {why}")
        try:
            target.save(named, place, carrying)
        except RecursionError as error:
            raise PlanError(
                f"{path}: too many edits of one tensor follow one another to be computed at once: write a checkpoint "
                "after some of them, and apply the others to it"
            ) from error


def storable(tensors: Checkpoint, target: Format) -> Checkpoint:
    """Return the tensors that are written in a format: all, but the object graph only if the format uses it."""
    if target.OBJECT_GRAPH or OBJECT_GRAPH not in tensors:
        return tensors
    return tensors.only(set(tensors) - {OBJECT_GRAPH})
