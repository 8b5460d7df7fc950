"""The meaning of a path or URL: a checkpoint or a graph; the graph beside a checkpoint; which tensors are weights.

All verbs resolve paths here; each format defines which paths it recognises.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.catalogue.local_files import local
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, GraphError, MissingFile
from ckpttool.core.names import scopes
from ckpttool.core.patterns import Pattern
from ckpttool.core.plain_files import is_file
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats.keras.files import is_archive
from ckpttool.formats.keras.scheme import is_application
from ckpttool.formats.tensorflow.object_graph import EXPORTED_TWICE
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph import files
from ckpttool.graph.core import Graph
from ckpttool.graph.paths import SAVED_MODEL_NAMES
from ckpttool.remote.paths import is_remote

Talk = Callable[[str], None]
"""A function that receives a note for the user."""
GRAPH_SUFFIXES = (".meta", ".pb", ".pbtxt")
"""The suffixes of files that contain a graph only."""


def resolve(path: str | Path) -> Path:
    """Return the local path of a model that a user names.

    The graph file of a SavedModel stands for its folder; a URL for local sparse files that are fetched on reading. The
    name of an architecture, `keras:MobileNetV2`, is not a path and is returned unchanged.

    Raises:
        CkptError: a server refuses the request, or cannot be reached.
    """
    path = local(path)
    return path.parent if path.name in SAVED_MODEL_NAMES else path


def open_checkpoint(path: str | Path) -> checkpoint.Checkpoint:
    """Open a checkpoint in any format; the weights of an architecture, `keras:MobileNetV2`, have its variables' names.

    Raises:
        MissingFile: it does not exist.
        FormatError: it is not a checkpoint.
    """
    try:
        return _opened(path)
    except FormatError as error:
        if not isinstance(error, CorruptCheckpoint) and _is_graph(path):
            raise FormatError(f"{path} is a graph without weights: specify the checkpoint that has them") from error
        raise


def _opened(path: str | Path) -> checkpoint.Checkpoint:
    if not is_application(path):
        return checkpoint.open(path)
    from ckpttool.model.keras_application import open_with_keras  # not needed for most checkpoints

    return open_with_keras(Path(path)).weights


def _is_graph(path: str | Path) -> bool:
    """Return whether a path is a file of a graph that can be read."""
    with suppress(CkptError):
        return Path(path).suffix in GRAPH_SUFFIXES and bool(files.load(path).nodes)
    return False


def open_either(path: Path, tags: Collection[str] | None = None) -> checkpoint.Checkpoint | Graph:
    """Open a checkpoint, or the graph of a path that has no checkpoint.

    Raises:
        MissingFile: there is neither; the message says which file of the checkpoint is missing.
        FormatError: the file is neither.
    """
    try:
        return _opened(path)
    except CorruptCheckpoint:
        raise
    except (MissingFile, FormatError) as error:
        try:
            return files.load(path, tags)
        except (MissingFile, FormatError) as graph_error:
            is_graph = isinstance(graph_error, FormatError) and (path.suffix in GRAPH_SUFFIXES or path.is_dir())
            raise (graph_error if is_graph else error) from graph_error


def checkpoint_beside(path: Path) -> checkpoint.Checkpoint:
    """Return the checkpoint beside a graph; an empty one if the path is a graph alone.

    Raises:
        CkptError: the checkpoint cannot be read.
    """
    try:
        return checkpoint.open(path)
    except MissingFile:
        return checkpoint.Checkpoint.of({})
    except CkptError:
        if path.is_file() and path.suffix in GRAPH_SUFFIXES and not is_remote(path):
            return checkpoint.Checkpoint.of({})
        raise


def graph_beside(prefix: Path | None, tags: Collection[str] | None = None) -> Graph | None:
    """Return the graph beside a checkpoint, `PREFIX.meta` or that of its SavedModel; None if there is none.

    Raises:
        FormatError: it cannot be read.
        GraphError: there are several graphs, and the tags do not select one.
    """
    path = graph_path(prefix)
    return None if path is None else files.load(path, tags)


def weight_scopes(tensors: checkpoint.Checkpoint) -> dict[str, list[str]]:
    """Return the weights of a checkpoint by scope, without the duplicates that Keras 3 lists for exported models."""
    return scopes(name for name, kind in tensors.kinds().items() if kind == "weight" and not is_copy(name))


def is_copy(name: str) -> bool:
    """Return whether a name is a duplicate under which Keras 3 lists a variable of an exported model."""
    return f"{name}/".startswith(EXPORTED_TWICE)


def graph_that_keeps(path: Path) -> Graph | None:
    """Return a graph with the metadata of a model, such as classes and preprocessing; None if it has none.

    It is the graph beside a checkpoint; for a Keras file, whose network is not built, a graph with metadata only.

    Raises:
        CkptError: it cannot be read.
    """
    if path.is_file() and is_archive(path):
        # importing these takes longer than reading most checkpoints
        from ckpttool.formats.keras.network import read_metadata
        from ckpttool.graph.contents.kept import with_kept_metadata

        return with_kept_metadata(Graph(MetaGraphDef(), str(path)), read_metadata(path))
    return graph_beside(prefix_of(path))


def graph_path(prefix: Path | None) -> Path | None:
    """Return the file of the graph beside a checkpoint; None if there is none."""
    if prefix is None:
        return None
    if prefix.suffix in GRAPH_SUFFIXES and prefix.is_file():  # a frozen graph is both graph and checkpoint
        return prefix
    paths = [prefix / ".meta" if prefix.is_dir() else Path(f"{prefix}.meta")]
    if prefix.name == "variables" and prefix.parent.name == "variables":
        paths = [*(prefix.parent.parent / name for name in SAVED_MODEL_NAMES), *paths]
    return next((path for path in paths if is_file(path)), None)


def described(tensors: checkpoint.Checkpoint, say: Talk, tags: Collection[str] | None = None) -> checkpoint.Checkpoint:
    """Return a checkpoint with the kind of each tensor and the variable of each slot, from its graph, else from names.

    Object graphs list the optimizer's slots; the graph of a TensorFlow 2 model has only names. `say` receives a note if
    the graph cannot be read.
    """
    if OBJECT_GRAPH in tensors:
        return tensors
    try:
        graph = graph_beside(tensors.path, tags)
        if graph is None:
            return tensors
        return as_graph_knows(tensors, graph)
    except (FormatError, GraphError) as error:
        say(f"kinds are determined only from the names: {error}")
        return tensors


def as_graph_knows(tensors: checkpoint.Checkpoint, graph: Graph) -> checkpoint.Checkpoint:
    """Return a checkpoint with the kinds of tensors, variables of slots and averages determined by its graph."""
    from ckpttool.graph.contents.variables import variables  # not needed without a graph

    known = variables(graph).values()
    owners = {variable.name: variable.owner for variable in known if variable.owner is not None}
    averages = [variable.name for variable in known if variable.is_average]
    return tensors.described({variable.name: variable.kind for variable in known}, owners, averages)


def names_taken(pattern: str | None, kind: Mapping[str, str], slots: bool) -> Sequence[str]:
    """Return the names that a pattern matches: weights, or with `slots` all kinds; without a pattern all names.

    Raises:
        UnknownName: it matches nothing.
    """
    if pattern is None:
        return list(kind)
    return Pattern(pattern).select([name for name, of in kind.items() if slots or of == "weight"])
