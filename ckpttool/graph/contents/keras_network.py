"""The Keras network that a graph computes, in a collection of the graph.

Code that adds layers, a loss or a training op to such a graph also adds them here in Keras's terms.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ckpttool.core.errors import FormatError, GraphError
from ckpttool.formats.keras.connections import Config
from ckpttool.formats.keras.cutting import Call, cut_after, layer_names, with_layers
from ckpttool.formats.wire import strict_json
from ckpttool.formats.wire.protos.meta_graph_pb2 import CollectionDef
from ckpttool.graph.core import Graph
from ckpttool.graph.free_names import FreeNames

KEY = "ckpttool/keras"


@dataclass(frozen=True)
class KerasNetwork:
    """A network in Keras's terms.

    `architecture` is the config of a Functional or a Sequential model. `calls` maps tensors of the graph to the layer
    calls that return them: a row of calls, from the outermost model to the layer. `compiled` has the arguments of
    Keras's `compile` that are known: `optimizer`, `loss`, `metrics`. `renamed` maps layer names in Keras to different
    ones in the graph. `lacks` describes, by subject, what the graph has and Keras does not support; `lost` is the
    reason why there is no Keras network any more. `penalties` has the training's penalties on kernels: `l1`, `l2`,
    `max_norm`. `not_compiled` is why the file's compile config is not used. `constrained` are the weights with a Keras
    constraint, which the graph does not apply. If the outputs are `masked`, Keras's losses ignore masked time steps.
    """

    architecture: Config
    calls: Mapping[str, Sequence[Call]] = field(default_factory=dict)
    compiled: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    lost: str | None = None
    penalties: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    constrained: Sequence[str] = field(default_factory=list)
    masked: bool = False
    not_compiled: str | None = None

    def cut_after(self, tensor: str) -> "KerasNetwork":
        """Return the network up to a tensor, without loss and optimizer; `lost` is set if it cannot be cut there."""
        if tensor not in self.calls:
            return replace(
                self, lost=self.lost or f"it was cut after {tensor}, which is not the output of a layer of Keras"
            )
        try:
            cut = cut_after(self.architecture, self.calls[tensor])
        except FormatError as error:
            return replace(self, lost=str(error))
        rows = {name: kept for name, row in self.calls.items() if (kept := cut.row(row))}
        return KerasNetwork(cut.model, rows, renamed=self.renamed, constrained=self.constrained)

    def having_layers(self, layers: Mapping[str, Sequence[Config]], outputs: Mapping[str, str]) -> "KerasNetwork":
        """Return the network with new layers, each of which may be several Keras layers, with their output tensors.

        Names that are taken, or that Keras does not allow, are changed.
        """
        if self.lost:
            return self
        names = FreeNames(layer_names(self.architecture))
        new, calls, renamed = [], dict(self.calls), dict(self.renamed)
        for name, parts in layers.items():
            for part in parts:
                own = part["config"]["name"]
                free = names.free(own.replace("/", "_"))
                renamed |= {free: own} if free != own else {}
                new.append({**part, "name": free, "config": {**part["config"], "name": free}})
                calls[outputs[name]] = [(free, 0, 0)]
        return replace(self, architecture=with_layers(self.architecture, new), calls=calls, renamed=renamed)

    def compiled_with(self, about: str, lacks: Sequence[str], **config: Any) -> "KerasNetwork":
        """Return the network with other arguments of `compile`, and descriptions of what Keras does not support."""
        return replace(self, compiled={**self.compiled, **config}).lacking(about, lacks)

    def lacking(self, about: str, what: Sequence[str]) -> "KerasNetwork":
        """Return the network with other descriptions of what Keras does not support about a subject."""
        others = {key: value for key, value in self.lacks.items() if key != about}
        return replace(self, lacks={**others, about: [*what]} if what else others)


def keras_network(graph: Graph) -> KerasNetwork | None:
    """Return the Keras network in a graph's collection, or None.

    Raises:
        GraphError: the collection is damaged.
    """
    if KEY not in graph.header.collection_def:
        return None
    try:
        (text,) = graph.header.collection_def[KEY].bytes_list.value
        said = strict_json.loads(text)
        calls = {name: [(str(a), int(b), int(c)) for a, b, c in row] for name, row in said.pop("calls").items()}
        return KerasNetwork(calls=calls, **said)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise GraphError(f"{graph.source}: the collection {KEY} cannot be read: {error}") from error


def with_keras_network(graph: Graph, network: KerasNetwork | None) -> Graph:
    """Return the graph with another Keras network in its collection; None removes it."""
    if network == keras_network(graph):
        return graph
    header = graph.header_copy()
    header.collection_def.pop(KEY, None)
    if network is not None:
        collection = CollectionDef()
        collection.bytes_list.value.append(json.dumps(vars(network), separators=(",", ":")).encode())
        header.collection_def[KEY].CopyFrom(collection)
    return graph.having(header=header)
