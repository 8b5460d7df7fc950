"""Checkpoints and files: a path is opened as whatever it is, and tensors are saved whole or not at all."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ckpttool.checkpoint.checkpoint import Checkpoint
from ckpttool.checkpoint.named_tensors import as_tensors
from ckpttool.core.tensors import Array, Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Format, Tensors, Writing
from ckpttool.formats.reading.unmixed import unmixed
from ckpttool.formats.reading.url_files import local
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import KEY, UNKNOWN, Command, Provenance, SourceFile, carried
from ckpttool.remote.paths import refuse_url


def open(path: Path | str) -> Checkpoint:  # noqa: A001
    """Open a checkpoint: a prefix, one of its files, a folder, a SavedModel, an .npz; or the URL of one.

    Raises:
        MissingFile: nothing is there.
        FormatError: it is not a checkpoint, or one that is not read.
        CorruptCheckpoint: its index is damaged.
        CkptError: a server refuses, or cannot be reached.
    """
    path = local(path)
    format_, tensors = unmixed(path, lambda: _opened(path))
    metadata = {key: text for key, text in tensors.metadata.items() if key != KEY}
    provenance = Provenance.of_file(SourceFile.of_checkpoint(path, format_, tensors))
    about = (prefix_of(path), format_.NAME, metadata, tensors.left_out)
    return Checkpoint(tensors, *about, stated=tensors.kinds, provenance=provenance)


def _opened(path: Path) -> tuple[Format, Tensors]:
    found = registry.find(path)
    return found, found.open(path)


def save(
    tensors: Mapping[str, Tensor] | Mapping[str, Array],
    path: Path | str,
    format: str | None = None,  # noqa: A002
    overwrite: bool = False,
    how: Writing = PLAIN,
    command: Command | None = None,
) -> None:
    """Write tensors or arrays, one at a time, in the format named, or in that of the path's suffix, or as a bundle.

    `how` has what a format leaves open: metadata, a file whose structure to take (and whose format, where neither name
    nor suffix says one), the size of shards. At any moment the old output is there whole, or the new one. What is
    written is read again before it counts. An object graph goes only into a format that has a use for it. The output
    carries its lineage: the files that the tensors were read from, the edits since, and the `command` that makes it.

    Raises:
        ExistingOutput: there is one already and `overwrite` was not given.
        FormatError: the format cannot hold a tensor.
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
        target.save(named, place, carrying)


def storable(tensors: Checkpoint, target: Format) -> Checkpoint:
    """Return what a format is given of a checkpoint: all but the object graph, if it has no use for one."""
    if target.OBJECT_GRAPH or OBJECT_GRAPH not in tensors:
        return tensors
    return tensors.only(set(tensors) - {OBJECT_GRAPH})
