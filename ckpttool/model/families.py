"""Families: in which form a model is written: that of the model that went in, unless the output or `to` says another.

Each family is a `ModelWriter`: it checks an output before anything is read, and writes a graph with the values of its
variables, whole or not at all, and reads them back.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.names import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN
from ckpttool.formats.hdf5.tree import read_tree
from ckpttool.formats.keras.archive import read_archive
from ckpttool.formats.keras.writing import write_archive, write_weights
from ckpttool.formats.tensorflow.prefix import PART, SAVED_MODEL_GRAPHS, is_saved_model
from ckpttool.formats.tensorflow.saved_model import ASSETS, EXTRA_ASSETS, write_saved_model
from ckpttool.formats.writing.files import refuse_existing, refuse_existing_folder
from ckpttool.formats.writing.staging import destination
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.collections import ASSETS as ASSETS_KEY
from ckpttool.graph.rewrite.signing import served_whole
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command, Provenance, carried
from ckpttool.model.model import as_checkpoint, outputs_of, ready_to_write, require_as_meant, write_model
from ckpttool.model.resolve import as_graph_knows
from ckpttool.runtime.keras.write import keras_contents, listed_contents, required_network
from ckpttool.surgery.edits.values import Averages


@dataclass(frozen=True)
class Contents:
    """What is written of a model: a graph, the values of its variables, and what the lineage says of them.

    That is that `command` made them, of the files of the `provenance`: where none is given those of the graph and of
    the tensors.
    """

    graph: Graph
    tensors: Mapping[str, Tensor]
    provenance: Provenance | None = None
    command: Command | None = None


@dataclass(frozen=True)
class Written:
    """What was written: the values as the output has them, by their names in the graph, and what was noticed."""

    values: Mapping[str, Tensor]
    notes: Sequence[str] = ()


class ModelWriter(Protocol):
    """How models of a family are written."""

    def check(self, output: Path, overwrite: bool, graph: Graph | None = None) -> None:
        """Check that the output may be written, and hold what is made of `graph`, before anything is run.

        Raises:
            ExistingOutput: it is there already.
            PlanError: this family cannot hold what the graph computes.
            CkptError: what is there is of another kind, or a model of this family cannot be written.
        """

    def outputs(self, output: Path) -> list[Path]:
        """Return the files that a model at a path has or had, its main one first: a new model replaces them all."""

    def write(self, model: Contents, output: Path, overwrite: bool) -> Written:
        """Write a graph and the values of its variables, and read them back.

        Raises:
            ExistingOutput: the output is there already.
            PlanError: a variable has no value, or one of another shape or dtype.
            CorruptCheckpoint: what was read back is not what was meant.
        """


@dataclass(frozen=True)
class CheckpointWriter:
    """A model of TensorFlow 1: `PREFIX.meta` and a bundle under the prefix."""

    source: Path

    def check(self, output: Path, overwrite: bool, graph: Graph | None = None) -> None:
        """Check that the prefix is free, and no folder."""
        if output.is_dir():
            other = "`to` saved-model and `overwrite` replace it, else " if is_saved_model(output) else ""
            raise CkptError(f"{output} is a folder; {other}expected a prefix such as {output / 'model.ckpt'}")
        refuse_existing(outputs_of(output), overwrite)

    def outputs(self, output: Path) -> list[Path]:
        """Return the bundle's files and the graph."""
        return [*registry.get("bundle").outputs(output), *outputs_of(output)]

    def write(self, model: Contents, output: Path, overwrite: bool) -> Written:
        """Write it, as `write_model` does."""
        made = model.provenance, model.command
        notes = write_model(model.graph, model.tensors, output, overwrite, PLAIN, *made)
        return Written(checkpoint.open(output), notes)


@dataclass(frozen=True)
class SavedModelWriter:
    """A SavedModel: a folder with a graph, variables, a signature, and the files that the graph of `source` reads."""

    source: Path

    def check(self, output: Path, overwrite: bool, graph: Graph | None = None) -> None:
        """Check that the folder is free, or a SavedModel that may be replaced."""
        refuse_existing_folder(output, overwrite, is_saved_model)

    def outputs(self, output: Path) -> list[Path]:
        """Return the folder."""
        return [output]

    def write(self, model: Contents, output: Path, overwrite: bool) -> Written:
        """Write the whole graph, so that training can go on with it, and a signature of what it serves."""
        served, notes = served_whole(model.graph)
        write_folder(served, model.tensors, output, overwrite, self.source, model.provenance, model.command)
        return Written(checkpoint.open(output), notes)


@dataclass(frozen=True)
class KerasWriter:
    """A file of Keras 3: a `.keras`, or, where the output's name says so, the weights alone."""

    source: Path

    def check(self, output: Path, overwrite: bool, graph: Graph | None = None) -> None:
        """Check that the file may be written, and has a name by which Keras knows what it is."""
        if not output.name.endswith((ARCHIVE, *WEIGHTS_ALONE)):
            named = output.with_name(f"{output.name}{ARCHIVE}")
            raise PlanError(f"{output}: Keras opens a model by its suffix: name it {named}, or specify `to` ckpt")
        refuse_existing([output], overwrite)
        if graph is not None:
            required_network(graph)

    def outputs(self, output: Path) -> list[Path]:
        """Return the file."""
        return [output]

    def write(self, model: Contents, output: Path, overwrite: bool) -> Written:
        """Write the network of Keras that the graph says it computes, with what compiles it; or the weights alone."""
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
    """Return moving averages in the places of the weights, where a graph has some: Keras has one value of each."""
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
    """Write a graph with signatures and the values of its variables as a SavedModel; `ModelWriter.write` says how.

    What the graph's tables read, and what lies beside for whoever serves it, is copied from the SavedModel that
    `source` is, or is the graph of.
    """
    target = registry.get("saved-model")
    with staged_output(output, target, overwrite) as place:
        written, values = ready_to_write(graph, tensors, output, provenance)
        with carried(values.provenance, command, place, target, PLAIN) if values else nullcontext():
            write_saved_model(written.meta, values, place, _beside(graph, source))
        require_as_meant(place, place / SAVED_MODEL_GRAPHS[0], written, values)


def _beside(graph: Graph, source: Path) -> list[Path]:
    """Return the folders of files that go with a graph from a SavedModel: those that its tables read, and the extra."""
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
"""What writes the models of a family, by the name that `to` has for it; each is made with the source."""
ARCHIVE, WEIGHTS_ALONE, NUMBERED = ".keras", (".h5", ".hdf5"), ".weights.h5"
"""The suffixes of Keras's files: a whole model, weights alone, and those of the weights that have Keras 3's layout."""
SUFFIXES = {".ckpt": "ckpt", ".meta": "ckpt", ".index": "ckpt", **dict.fromkeys((ARCHIVE, *WEIGHTS_ALONE), "keras")}
"""The families that a suffix of the output says."""


def family_of(source: str | Path, output: str | Path, to: str | None = None) -> str:
    """Return the family that a model is written in: what `to` says, else the output's path, else that of the source.

    `source` is the file of the graph that is written, or of the one that it was made of; an output that ends in a slash
    is a SavedModel's folder.

    >>> family_of("old.ckpt.meta", "new"), family_of("old.ckpt.meta", "new/")
    ('ckpt', 'saved-model')
    >>> family_of("old/saved_model.pb", "new"), family_of("old/saved_model.pb", "new.ckpt")
    ('saved-model', 'ckpt')

    Raises:
        PlanError: there is no such family.
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
    return "saved-model" if Path(source).name in SAVED_MODEL_GRAPHS or is_saved_model(Path(source)) else "ckpt"


def is_model(output: str | Path) -> bool:
    """Say whether what is written to a path can be opened as a model: not where the path says weights alone.

    >>> is_model("tuned.keras"), is_model("tuned.h5")
    (True, False)
    """
    return not str(output).endswith(WEIGHTS_ALONE)


def writer_for(source: str | Path, output: str | Path, to: str | None = None) -> ModelWriter:
    """Return what writes a model; `family_of` says which family it is of.

    Raises:
        PlanError: there is no such family.
    """
    return FAMILIES[family_of(source, output, to)](Path(source))
