"""Families of models: the form in which a model is written, that of the source unless the output or `to` differs.

Each family is a `ModelWriter`, which checks an output before anything is read, writes a graph with the values of its
variables atomically, and reads them back.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN
from ckpttool.formats.tensorflow.prefix import PART, SAVED_MODEL_GRAPHS, is_saved_model
from ckpttool.formats.tensorflow.saved_model import ASSETS, EXTRA_ASSETS, write_saved_model
from ckpttool.formats.writing.files import refuse_existing, refuse_existing_folder
from ckpttool.formats.writing.staging import destination
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.collections import ASSETS as ASSETS_KEY
from ckpttool.graph.rewrite.signing import served_whole
from ckpttool.lineage.carrying import carried
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.model.model import as_checkpoint, outputs_of, ready_to_write, require_as_meant, write_model
from ckpttool.model.resolve import as_graph_knows
from ckpttool.surgery.edits.values import Averages


@dataclass(frozen=True)
class Contents:
    """The written contents of a model: a graph, the values of its variables, and their lineage.

    The lineage records that `command` made them from the files of `provenance`; by default those of the graph and the
    tensors.
    """

    graph: Graph
    tensors: Mapping[str, Tensor]
    provenance: Provenance | None = None
    command: Command | None = None


@dataclass(frozen=True)
class Written:
    """The result of writing: the values read from the output, by their names in the graph, and notes."""

    values: Mapping[str, Tensor]
    notes: Sequence[str] = ()


class ModelWriter(Protocol):
    """Writes the models of a family."""

    def check(self, output: Path, overwrite: bool, graph: Graph | None = None) -> None:
        """Check that the output can be written and can store what is made from `graph`, before anything is run.

        Raises:
            ExistingOutput: it exists.
            PlanError: this family cannot represent what the graph computes.
            CkptError: the path is occupied by something else, or a model of this family cannot be written.
        """

    def outputs(self, output: Path) -> list[Path]:
        """Return the files of a model at a path, the main one first; a new model replaces all of them."""

    def write(self, model: Contents, output: Path, overwrite: bool) -> Written:
        """Write a graph and the values of its variables, and read them back.

        Raises:
            ExistingOutput: the output exists.
            PlanError: a variable has no value, or one of another shape or dtype.
            CorruptCheckpoint: what was read back differs.
        """


@dataclass(frozen=True)
class CheckpointWriter:
    """A model of TensorFlow 1: `PREFIX.meta` and a bundle under the prefix."""

    source: Path

    def check(self, output: Path, overwrite: bool, graph: Graph | None = None) -> None:
        """Check that the prefix is free and not a folder."""
        if output.is_dir():
            other = "`to` saved-model and `overwrite` replace it, else " if is_saved_model(output) else ""
            raise CkptError(f"{output} is a folder; {other}expected a prefix such as {output / 'model.ckpt'}")
        refuse_existing(outputs_of(output), overwrite)

    def outputs(self, output: Path) -> list[Path]:
        """Return the bundle's files and the graph."""
        return [*registry.get("bundle").outputs(output), *outputs_of(output)]

    def write(self, model: Contents, output: Path, overwrite: bool) -> Written:
        """Write it with `write_model`."""
        made = model.provenance, model.command
        notes = write_model(model.graph, model.tensors, output, overwrite, PLAIN, *made)
        return Written(checkpoint.open(output), notes)


@dataclass(frozen=True)
class SavedModelWriter:
    """A SavedModel: a folder with a graph, variables, a signature, and the assets of the graph of `source`."""

    source: Path

    def check(self, output: Path, overwrite: bool, graph: Graph | None = None) -> None:
        """Check that the folder is free, or a SavedModel that can be overwritten."""
        refuse_existing_folder(output, overwrite, is_saved_model)

    def outputs(self, output: Path) -> list[Path]:
        """Return the folder."""
        return [output]

    def write(self, model: Contents, output: Path, overwrite: bool) -> Written:
        """Write the whole graph, so that it can be trained further, and a signature for serving."""
        served, notes = served_whole(model.graph)
        write_folder(served, model.tensors, output, overwrite, self.source, model.provenance, model.command)
        return Written(checkpoint.open(output), notes)


@dataclass(frozen=True)
class KerasWriter:
    """A Keras 3 file: a `.keras`, or the weights alone if the output has their suffix."""

    source: Path

    def check(self, output: Path, overwrite: bool, graph: Graph | None = None) -> None:
        """Check that the file can be written, and that its name has a suffix that Keras accepts."""
        if not output.name.endswith((ARCHIVE, *WEIGHTS_ALONE)):
            of_file = registry.suffix_of_files(output)  # another one, or this one mistyped
            named = output.with_suffix(ARCHIVE) if of_file else output.with_name(f"{output.name}{ARCHIVE}")
            raise PlanError(f"{output}: Keras opens a model by its suffix: name it {named}, or specify `to` ckpt")
        refuse_existing([output], overwrite)
        if graph is not None:
            from ckpttool.runtime.keras.write import required_network

            required_network(graph)

    def outputs(self, output: Path) -> list[Path]:
        """Return the file."""
        return [output]

    def write(self, model: Contents, output: Path, overwrite: bool) -> Written:
        """Write the Keras network stored in the graph, with its compile configuration; or the weights alone."""
        # these import NumPy and h5py, which other families do not need
        from ckpttool.formats.hdf5.tree import read_tree
        from ckpttool.formats.keras.archive import read_archive
        from ckpttool.formats.keras.writing import write_archive, write_weights
        from ckpttool.runtime.keras.write import keras_contents, listed_contents

        self.check(output, overwrite)
        whole, numbered = output.name.endswith(ARCHIVE), output.name.endswith(NUMBERED)
        tensors = _averaged(model.graph, model.tensors)
        contents = (keras_contents if whole or numbered else listed_contents)(model.graph, tensors)
        made_of = as_checkpoint(model.graph, model.tensors, model.provenance).provenance
        target = registry.get("keras" if whole else "keras-weights" if numbered else "keras-legacy")
        with (
            staged_output(output, target, overwrite) as place,
            carried(made_of, model.command, place, target, PLAIN),
        ):
            if whole:
                write_archive(contents.config, contents.metadata, contents.weights, place)
            else:
                write_weights(contents.weights, place)
        read = (read_archive if whole else read_tree)(output).tensors
        alone = f"{destination(output)} has the weights alone: the network, and what is frozen, are in a {ARCHIVE} file"
        notes = contents.notes if whole else [alone]
        return Written({name: read[place] for name, place in contents.places.items()}, notes)


def _averaged(graph: Graph, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return moving averages in place of the weights, if a graph has some: Keras stores one value of each weight."""
    if not any(variable.is_average for variable in variables(graph).values()):
        return tensors
    return Averages().apply(as_graph_knows(as_checkpoint(graph, tensors), graph))


def write_folder(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    output: Path,
    overwrite: bool,
    source: Path,
    provenance: Provenance | None = None,
    command: Command | None = None,
) -> None:
    """Write a graph with signatures and the values of its variables as a SavedModel (see `ModelWriter.write`).

    The assets of the graph's tables and `assets.extra` are copied from the SavedModel `source`, or the one whose graph
    it is.
    """
    target = registry.get("saved-model")
    with staged_output(output, target, overwrite) as place:
        written, values = ready_to_write(graph, tensors, output, provenance)
        with carried(values.provenance, command, place, target, PLAIN) if values else nullcontext():
            write_saved_model(written.meta, values, place, _beside(graph, source))
        require_as_meant(place, place / SAVED_MODEL_GRAPHS[0], written, values)


def _beside(graph: Graph, source: Path) -> list[Path]:
    """Return the folders of files that belong to a graph from a SavedModel: `assets` and `assets.extra`."""
    folder = source if source.is_dir() else source.parent
    if not is_saved_model(folder):
        return []
    named = graph.header.asset_file_def or ASSETS_KEY in graph.header.collection_def
    return [folder / name for name in ([ASSETS] if named else []) + [EXTRA_ASSETS] if (folder / name).is_dir()]


FAMILIES: dict[str, Callable[[Path], ModelWriter]] = {
    "ckpt": CheckpointWriter,
    "saved-model": SavedModelWriter,
    "keras": KerasWriter,
}
"""The writers by the family's name in `to`; each is constructed with the source."""
ARCHIVE, WEIGHTS_ALONE, NUMBERED = ".keras", (".h5", ".hdf5"), ".weights.h5"
"""The suffixes of Keras files: whole models, weights alone, and weights in the layout of Keras 3."""
SUFFIXES = {".ckpt": "ckpt", ".meta": "ckpt", ".index": "ckpt", **dict.fromkeys((ARCHIVE, *WEIGHTS_ALONE), "keras")}
"""The families by the output's suffix."""


def family_of(source: str | Path, output: str | Path, to: str | None = None) -> str:
    """Return the family of a model to write: the one in `to`, else by the output's path, else that of the source.

    `source` is the file of the graph to write, or of the graph it was made from; an output that ends in a slash is a
    SavedModel folder.

    >>> family_of("old.ckpt.meta", "new"), family_of("old.ckpt.meta", "new/")
    ('ckpt', 'saved-model')
    >>> family_of("old/saved_model.pb", "new"), family_of("old/saved_model.pb", "new.ckpt")
    ('saved-model', 'ckpt')

    Raises:
        PlanError: there is no such family, or the output has the suffix of files that contain no graph.
    """
    if to is not None:
        if to not in FAMILIES:
            raise PlanError(f"`to` {to}: there are {', '.join(FAMILIES)}{suggestion(to, FAMILIES)}")
        return to
    if str(output).endswith("/"):
        return "saved-model"
    path = Path(output)
    if said := SUFFIXES.get(path.suffix) or ("ckpt" if ".ckpt-" in path.name or PART.search(path.name) else None):
        return said
    if Path(source).name.endswith((ARCHIVE, *WEIGHTS_ALONE)):
        return "keras"
    if suffix := registry.suffix_of_files(path):
        nearest = f" (nearest: {suffix})" if suffix != path.suffix else ""
        named = f"name it {path.with_suffix('.ckpt')}, or {path.with_suffix('')}/ for a SavedModel"
        problem = f"no model with a graph is written as a {path.suffix} file{nearest}"
        raise PlanError(f"{path}: {problem}; {named}; `ckpttool convert` writes weights alone")
    return "saved-model" if Path(source).name in SAVED_MODEL_GRAPHS or is_saved_model(Path(source)) else "ckpt"


def is_model(output: str | Path) -> bool:
    """Return whether an output can be opened as a model, which files of weights alone cannot.

    >>> is_model("tuned.keras"), is_model("tuned.h5")
    (True, False)
    """
    return not str(output).endswith(WEIGHTS_ALONE)


def writer_for(source: str | Path, output: str | Path, to: str | None = None) -> ModelWriter:
    """Return the writer of the family that `family_of` returns.

    Raises:
        PlanError: there is no such family.
    """
    return FAMILIES[family_of(source, output, to)](Path(source))
