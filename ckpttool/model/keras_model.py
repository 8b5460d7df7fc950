"""Models of Keras files: the network described by a file, traced into a graph, and the values from the file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.collector import collector_paused
from ckpttool.core.patterns import Pattern
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
    """An opened Keras file: the graph of its network, and its weights under the graph's names.

    `unread` has the tensors that are not weights, such as the optimizer's.
    """

    graph: Graph
    weights: checkpoint.Checkpoint
    unread: Sequence[str]


@collector_paused()
def open_keras(path: Path, unfrozen: Pattern | None = None) -> OpenedKeras:
    """Read a network, build and trace it, and find its weights in the file by name.

    Layers with weights that match the pattern `unfrozen` are trainable, even if the file freezes them.

    Raises:
        UnknownName: the pattern matches no weight.
        FormatError: the file has weights only, its network is foreign or unsafe to build, or a weight is missing.
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
