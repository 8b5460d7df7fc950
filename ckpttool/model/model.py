"""Models: a graph and its checkpoint, opened together and written together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.checkpoint.layer_rows import layer_rows
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.notebooks import html_table
from ckpttool.core.tensors import Tensor
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Writing
from ckpttool.formats.keras.files import opens_with_keras
from ckpttool.formats.reading.unmixed import unmixed
from ckpttool.formats.tensorflow.frozen_graph import FrozenTensors
from ckpttool.formats.tensorflow.object_graph import BESIDE_VALUES
from ckpttool.formats.tensorflow.tied_graph import require_tied
from ckpttool.formats.writing.read_back import require_same_tensors
from ckpttool.formats.writing.staging import destination
from ckpttool.graph import files
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.restoring import require_restorable
from ckpttool.graph.contents.savers import saved_names
from ckpttool.graph.contents.signatures import choosing_signature
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.old_savers import with_savers_of_version_2
from ckpttool.graph.rewrite.thaw import thawed
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.model.as_run import as_run, is_stored
from ckpttool.model.resolve import as_graph_knows, resolve


@dataclass(frozen=True)
class Opening:
    """How a model was opened, so that another process can open it in the same way."""

    path: str
    allow_op: tuple[str, ...] = ()
    ema: bool = False

    def again(self) -> "Model":
        """Open the model."""
        return Model.open(self.path, self.allow_op, self.ema)


@dataclass(frozen=True, repr=False)
class Model:
    """A graph and the values of its variables, by checkpoint name."""

    path: Path
    graph: Graph
    checkpoint: checkpoint.Checkpoint
    unread: Sequence[str] = ()
    """The tensors of the file that are not in the graph, such as slots that a program managed itself."""
    opening: Opening | None = None
    """How it was opened, if it was."""

    def __repr__(self) -> str:
        ops = f"{len(self.graph.nodes):,} ops"
        return f"<Model {self.path}: {ops}, {repr(self.checkpoint).strip('<>').rpartition(': ')[2]}>"

    def _repr_html_(self) -> str:
        """Return the layers in data-flow order as a table, for a notebook, with histograms of their weights."""
        held = self.thawed()
        found = {layer.name: layer.variables for layer in layers(held.graph)}
        weights = {
            name: [held.checkpoint[each] for each in names if each in held.checkpoint] for name, names in found.items()
        }
        return html_table(layer_rows(weights), repr(self).strip("<>"))

    @property
    def provenance(self) -> Provenance:
        """The files of the graph and of the checkpoint."""
        return Provenance.joined(self.graph.provenance, self.checkpoint.provenance)

    @classmethod
    def open(cls, path: str | Path, allow_op: Collection[str] = (), ema: bool = False) -> "Model":
        """Open a prefix with its `.meta`, a SavedModel (its folder or graph), a Keras file, a run's folder, or a URL.

        `keras:MobileNetV2(weights='w.h5')` is an architecture of `keras.applications` with the weights of a file. In
        the folder of a run the latest checkpoint is opened. A graph without variables needs no checkpoint. `allow_op`
        are the types of ops that may run although they can have side effects. With `ema` the weights are `averaged`.

        Raises:
            MissingFile: the graph or the checkpoint does not exist.
        """
        opening = Opening(str(path), tuple(allow_op), ema)
        path = resolve(path)
        if opens_with_keras(path):
            from ckpttool.model.keras_application import open_with_keras  # not needed for TensorFlow's own files

            opened = open_with_keras(path)
            graph = opened.graph.allowing(allow_op)
            model = cls(path, graph, opened.weights, opened.unread, opening)
            return model.averaged() if ema else model
        graph, values = unmixed(path, lambda: _graph_and_values(path))
        graph = graph.allowing(allow_op)
        run, read = as_run(graph, values)
        unread = [name for name in values if name not in read and not name.startswith(BESIDE_VALUES)]
        model = cls(path, run, read, unread, opening=opening)
        return model.averaged() if ema else model

    def called(self, signature: str | None) -> "Model":
        """Return the model with a signature selected; the model itself if `signature` is None.

        Raises:
            UnknownName: the signature does not exist.
        """
        return replace(self, graph=choosing_signature(self.graph, signature)) if signature else self

    def averaged(self) -> "Model":
        """Return the model with the moving averages of weights in place of the weights.

        Raises:
            UnknownName: it has no moving averages.
        """
        from ckpttool.surgery.edits.values import Averages  # imports all other edits too

        try:
            values = Averages().apply(as_graph_knows(self.checkpoint, self.graph))
        except UnknownName as error:
            raise UnknownName(f"{self.path}: {error}") from error
        return replace(self, checkpoint=values.after("ema"))

    def thawed(self) -> "Model":
        """Return the model of a frozen graph with its constants turned into variables, whose values are its checkpoint.

        A model that has variables, or no such constants, is returned unchanged.
        """
        functions = self.graph.header.graph_def.library.function
        if stored_tensors(self.graph) or not (values := FrozenTensors(self.path, self.graph.nodes, functions)):
            return self
        weights = checkpoint.Checkpoint(values, self.path, format="frozen")
        return Model(self.path, thawed(self.graph), weights, opening=self.opening)


def _graph_and_values(path: Path) -> tuple[Graph, checkpoint.Checkpoint]:
    graph = files.load(path)
    require_tied(path)
    return graph, checkpoint.open(path) if is_stored(graph) else checkpoint.Checkpoint.of({})


def outputs_of(prefix: str | Path) -> list[Path]:
    """Return the files by which a model under a prefix is recognised."""
    return [Path(f"{prefix}{suffix}") for suffix in (".meta", ".index")]


def write_model(
    graph: Graph,
    tensors: Mapping[str, Tensor],
    output: str | Path,
    overwrite: bool,
    how: Writing = PLAIN,
    provenance: Provenance | None = None,
    command: Command | None = None,
) -> list[str]:
    """Write a graph and a checkpoint under a prefix, and read both back.

    The lineage records that `command` made them from the files of `provenance`; by default those of the graph and the
    tensors.

    The checkpoint must contain what the graph's saver restores, with its names, shapes and dtypes; all variables, if
    the graph has no saver. A saver of TensorFlow 0.x, which reads V1 files only, is rewritten to read V2, and a note
    returned. The checksum of every tensor is compared as it is written; names, shapes and dtypes are compared with what
    the saver's ops read, and the written graph with the intended one.

    Raises:
        ExistingOutput: the prefix exists and `overwrite` is not set.
        PlanError: a variable has no value, or one of another shape or dtype.
        CorruptCheckpoint: what was read back differs.
    """
    with staged_output(Path(output), registry.get("bundle"), overwrite, [Path(f"{output}.meta")]) as place:
        written, values = ready_to_write(graph, tensors, output, provenance)
        meta = Path(f"{place}.meta")
        files.write(written.meta, meta)
        checkpoint.save(values, place, "bundle", False, replace(how, graph=meta), command)
        require_as_meant(place, meta, written, values)
    if written is graph:
        return []
    saver = f"{destination(Path(output))}.meta"
    return [f"the Saver of {graph.source} reads files of version 1 only; that of {saver} reads both versions"]


def ready_to_write(
    graph: Graph, tensors: Mapping[str, Tensor], output: str | Path, provenance: Provenance | None = None
) -> tuple[Graph, checkpoint.Checkpoint]:
    """Return a graph whose saver reads V2 files, and the tensors, checked against what it restores.

    Raises:
        PlanError: a variable has no value, or one of another shape or dtype.
    """
    missing = [name for name in saved_names(graph) or stored_tensors(graph) if name not in tensors]
    if missing:
        raise PlanError(f"{output}: no value for {', '.join(missing[:5])}")
    values = as_checkpoint(graph, tensors, provenance)
    written = with_savers_of_version_2(graph)
    require_restorable(written, {spec.name: spec for spec in values.specs()})
    return written, values


def as_checkpoint(
    graph: Graph, tensors: Mapping[str, Tensor], provenance: Provenance | None = None
) -> checkpoint.Checkpoint:
    """Return the values of a graph's variables as a checkpoint, whose provenance is their files and the graph's."""
    values = tensors if isinstance(tensors, checkpoint.Checkpoint) else checkpoint.Checkpoint.of(tensors)
    return values.made_of(provenance or values.provenance.beside(graph.provenance))


def require_as_meant(place: str | Path, written: Path, graph: Graph, values: checkpoint.Checkpoint) -> None:
    """Read a written model back and compare: the names, shapes and dtypes of its tensors, and its graph.

    Raises:
        CorruptCheckpoint: something differs from what was to be written.
    """
    found = checkpoint.open(place).specs() if values else []
    require_same_tensors(Path(place), {spec.name: spec for spec in found}, {spec.name: spec for spec in values.specs()})
    files.require_written(written, graph.meta)
