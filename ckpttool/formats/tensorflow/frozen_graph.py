"""Read frozen graphs as checkpoints: a GraphDef, MetaGraphDef or SavedModel whose weights are constants."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

from google.protobuf.message import DecodeError

from ckpttool.core.dtypes import BY_NUMBER
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.plain_files import is_file
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.format import Format, Tensors
from ckpttool.formats.reading.versions import version_of
from ckpttool.formats.tensorflow.frozen_weights import frozen_weights
from ckpttool.formats.tensorflow.prefix import SAVED_MODEL_GRAPHS
from ckpttool.formats.tensorflow.tensor_proto import array_of, shape_of
from ckpttool.formats.wire import text_messages
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, GraphDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel
from ckpttool.remote import sparse_files

SUFFIXES = (".pb", ".pbtxt", ".meta")
"""The suffixes of graph files."""
LARGE = 64
"""Float constants that are not weights are reported as skipped if they have at least this number of elements."""


class FrozenTensors(Tensors):
    """The constants that replaced variables, under the variables' names."""

    def __init__(self, path: Path, nodes: dict[str, NodeDef], functions: Iterable[FunctionDef] = ()) -> None:
        """Find them among the ops and functions of a graph."""
        self._path, self._nodes = path, nodes
        self._ops = frozen_weights(nodes, functions)
        weights = set(self._ops.values())
        others = {
            name: shape_of(node.attr["value"].tensor)
            for name, node in nodes.items()
            if node.op == "Const" and name not in weights
        }
        specs = [self._spec(name, name) for name in others]
        self.left_out = tuple(spec.name for spec in specs if spec.elements >= LARGE and "float" in spec.dtype.name)

    def _spec(self, name: str, op: str) -> TensorSpec:
        tensor = self._nodes[op].attr["value"].tensor
        dtype = BY_NUMBER.get(tensor.dtype)
        if dtype is None or min(shape_of(tensor), default=0) < 0:
            raise CorruptCheckpoint(f"{self._path}: the constant {op} has no known dtype, or no shape")
        return TensorSpec(name, shape_of(tensor), dtype)

    def __getitem__(self, name: str) -> Tensor:
        spec = self._spec(name, self._ops[name])
        return Tensor(spec, partial(array_of, self._nodes[self._ops[name]].attr["value"].tensor, spec, str(self._path)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._ops)

    def __len__(self) -> int:
        return len(self._ops)


class FrozenGraph(Format):
    """A graph whose weights are constants."""

    NAME = "frozen"
    CHECKSUMS = False
    LIMITS = "is read only: the constants of a graph that were variables; no checksums; `fold` makes one of a model"
    FRAMEWORK = "tensorflow"
    WRITES = False
    INSTEAD = "a frozen graph is read, not written; `fold` makes one of a model"

    def recognises(self, path: Path) -> bool:
        """Return whether a file, or a SavedModel's folder, contains a graph with frozen weights and no variables."""
        path = _graph_file(path)
        if path.suffix not in SUFFIXES or not is_file(path):
            return False
        return bool(frozen_weights(*_ops(path, version_of(path))))

    def open(self, path: Path) -> FrozenTensors:
        """Find the constants; their arrays are created when a tensor is read.

        Raises:
            CorruptCheckpoint: one has no valid dtype or shape.
        """
        path = _graph_file(path)
        return FrozenTensors(path, *_ops(path, version_of(path)))


def _graph_file(path: Path) -> Path:
    """Return the graph file of a SavedModel's folder; other paths are returned unchanged."""
    return next((path / name for name in SAVED_MODEL_GRAPHS if is_file(path / name)), path)


@lru_cache(maxsize=1)
def _ops(path: Path, version: Hashable) -> tuple[dict[str, NodeDef], Sequence[FunctionDef]]:
    """Return the ops and functions of a graph file, empty if it is no graph or two ops have the same name."""
    for graph in _graphs(path, GraphDef, MetaGraphDef, SavedModel):
        named = {node.name: node for node in graph.node}
        if named and len(named) == len(graph.node) and all(node.name and node.op for node in graph.node):
            return named, graph.library.function
    return {}, ()


def weights_in_functions(folder: Path) -> dict[str, str]:
    """Return the names of weights that are constants in a SavedModel's functions, with the first such function."""
    found: dict[str, str] = {}
    for graph in _graphs(_graph_file(folder), SavedModel):
        for function in graph.library.function:
            for name in frozen_weights({node.name: node for node in function.node_def}):
                found.setdefault(name, function.signature.name)
    return found


def _graphs(path: Path, *kinds: type[GraphDef | MetaGraphDef | SavedModel]) -> Iterator[GraphDef]:
    """Yield the graph of a file parsed as each type of message, if that succeeds."""
    data = sparse_files.read_bytes(path)
    for kind in kinds:
        message = kind()
        try:
            if path.suffix == ".pbtxt":
                text_messages.parsed(data, message)
            else:
                message.ParseFromString(data)
        except (DecodeError, UnicodeDecodeError, RecursionError):
            continue
        yield _graph_in(message)


def _graph_in(message: GraphDef | MetaGraphDef | SavedModel) -> GraphDef:
    """Return the graph of a message; of several graphs in a SavedModel, the one tagged "serve"."""
    if isinstance(message, GraphDef):
        return message
    if isinstance(message, MetaGraphDef):
        return message.graph_def
    graphs = list(message.meta_graphs)
    serving = [meta for meta in graphs if list(meta.meta_info_def.tags) == ["serve"]]
    chosen = graphs if len(graphs) == 1 else serving
    return chosen[0].graph_def if len(chosen) == 1 else GraphDef()
