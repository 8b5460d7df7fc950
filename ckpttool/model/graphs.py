"""The graph that a path stands for, as verbs run, rewrite and fill it.

It is apart from what a path means: verbs of checkpoints ask that alone, and to import rewrites takes longer than most
of them.
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
    """Return the graph of a path as verbs run and rewrite it; a checkpoint is asked for where only it has the names.

    Raises:
        CkptError: there is no graph, or the checkpoint of one of TensorFlow 2 cannot be read.
    """
    if opens_with_keras(path):
        from ckpttool.model.keras_application import open_with_keras  # which TensorFlow's own files do without

        return open_with_keras(path).graph
    graph = files.load(path, tags)
    return as_run(graph, checkpoint_beside(path) if is_version_2(graph) else checkpoint.Checkpoint.of({}))[0]


def graph_to_fill(path: Path, computes: bool = False) -> tuple[Graph, checkpoint.Checkpoint, bool]:
    """Return the graph of a path whose variables are to get values, the values that lie with it, and whether it is one.

    Of a checkpoint alone it is a graph without ops. So it is of a Keras file, whose network is built only if something
    `computes` with it.

    The constants of a frozen graph are variables again.

    Raises:
        MissingFile: there is neither.
        FormatError: the graph cannot be read, or the network not be built.
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
            from ckpttool.graph.rewrite.thaw import thawed  # which a graph that is looked at does without

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
    """Return the graph that was opened, or lies with the checkpoint that was, as verbs read it; None where none does.

    Raises:
        FormatError: it cannot be read.
        GraphError: several graphs, and the tags do not say which; or a function of it is missing.
    """
    if isinstance(opened, Graph):
        return without_calls(opened)
    beside = graph_beside(opened.path, tags)
    return None if beside is None else as_run(beside, opened)[0]
