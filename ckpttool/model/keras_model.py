"""Models of Keras files: the network that a file describes, traced into a graph, and the file's values for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.collector import collector_paused
from ckpttool.core.names import Pattern
from ckpttool.formats.keras.network import read_network
from ckpttool.formats.keras.pairing import stored_names
from ckpttool.graph.contents.kept import with_kept_metadata
from ckpttool.graph.contents.keras_network import with_keras_network
from ckpttool.graph.core import Graph
from ckpttool.runtime.keras.build import built
from ckpttool.runtime.keras.describe import described
from ckpttool.runtime.keras.trace import traced
from ckpttool.runtime.keras.unfreezing import unfreeze


@dataclass(frozen=True, eq=False)
class OpenedKeras:
    """What opening a Keras file gives: the graph of its network, and its weights under the graph's names.

    `unread` has the tensors that are no weights, as the optimizer's are.
    """

    graph: Graph
    weights: checkpoint.Checkpoint
    unread: Sequence[str]


@collector_paused()
def open_keras(path: Path, unfrozen: Pattern | None = None) -> OpenedKeras:
    """Read a network, build and trace it, and find its weights in the file by their names.

    Layers with weights that the pattern `unfrozen` takes are trained, though the file may freeze them.

    Raises:
        UnknownName: the pattern takes no weight.
        FormatError: the file has weights only, or its network is not Keras's own, not safe to build, or lacks a weight.
        MissingDependency: TensorFlow or Keras is not installed.
    """
    network, stored = read_network(path), checkpoint.open(path)
    model = built(network)
    if unfrozen:
        unfreeze(model, unfrozen)
    trace = traced(model)
    weights = {name for name, kind in stored.kinds().items() if kind == "weight"}
    names = stored_names([*trace.model.variables, *trace.model.copies], weights, network, trace.model.places)
    unread = [name for name in stored if name not in weights]
    held = {name: stored[own].renamed(name) for name, own in names.items() if name not in trace.model.copies}
    graph = with_kept_metadata(trace.graph, network.metadata)
    return OpenedKeras(with_keras_network(graph, described(trace)), stored.holding(held, names), unread)
