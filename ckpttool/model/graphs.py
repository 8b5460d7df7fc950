"""The graph of a path, in the form that verbs run, rewrite and fill.

It is a module of its own because importing graph rewriting takes longer than most verbs of checkpoints, which need
`resolve` only.
"""

from collections.abc import Collection
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, FormatError, MissingFile
from ckpttool.formats.keras.files import is_whole_model, opens_with_keras
from ckpttool.formats.keras.scheme import is_application
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph import files
from ckpttool.graph.contents.savers import is_version_2
from ckpttool.graph.core import Graph
from ckpttool.model.as_run import as_run, is_stored, without_calls
from ckpttool.model.resolve import checkpoint_beside, graph_beside, graph_path


def graph_as_run(path: Path, tags: Collection[str] | None = None) -> Graph:
    """Return the graph of a path in the form that verbs run and rewrite; its checkpoint is read only for missing names.

    Raises:
        CkptError: there is no graph, or the checkpoint of a TensorFlow 2 graph cannot be read.
    """
    if opens_with_keras(path):
        from ckpttool.model.keras_application import open_with_keras  # not needed for TensorFlow's own files

        return open_with_keras(path).graph
    graph = files.load(path, tags)
    return as_run(graph, checkpoint_beside(path) if is_version_2(graph) else checkpoint.Checkpoint.of({}))[0]


def graph_to_fill(path: Path, computes: bool = False) -> tuple[Graph, checkpoint.Checkpoint, bool]:
    """Return the graph of a path whose variables get values, the values beside it, and whether it really is a graph.

    A checkpoint alone gives a graph without ops. So does a Keras file unless `computes` is set, since building its
    network is slow.

    The constants of a frozen graph become variables again.

    Raises:
        MissingFile: there is neither a graph nor a checkpoint.
        FormatError: the graph cannot be read, or the network cannot be built.
    """
    if is_application(path) or (path.is_file() and is_whole_model(path)):
        if computes or is_application(path):
            from ckpttool.model.keras_application import open_with_keras

            opened = open_with_keras(path)
            return opened.graph, opened.weights, True
        return Graph(MetaGraphDef(), str(path)), checkpoint.open(path), False
    try:
        graph = graph_as_run(path)
        if not is_stored(graph):
            from ckpttool.graph.rewrite.thaw import thawed  # not needed for graphs that are only read

            graph = thawed(graph)
        return graph, checkpoint_beside(path), True
    except (MissingFile, FormatError) as error:
        try:
            held = checkpoint.open(path)
        except CkptError:
            raise error from None
        if graph_path(held.path) is not None:
            raise
        return Graph(MetaGraphDef(), str(path)), held, False


def graph_as_held(opened: checkpoint.Checkpoint | Graph, tags: Collection[str] | None = None) -> Graph | None:
    """Return the graph that was opened, or is beside the opened checkpoint; None if there is none.

    Raises:
        FormatError: it cannot be read.
        GraphError: there are several graphs and the tags do not select one; or one of its functions is missing.
    """
    if isinstance(opened, Graph):
        return without_calls(opened)
    beside = graph_beside(opened.path, tags)
    return None if beside is None else as_run(beside, opened)[0]
