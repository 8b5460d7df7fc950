"""The Keras network that a graph computes: kept in a collection, so that it goes where the graph goes.

Whoever puts layers, a loss or a training op on such a graph says the same here in Keras's terms.
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

    `architecture` is the config of a Functional or a Sequential model. `calls` has for a tensor of the graph the call
    of a layer that gives it, a row of calls where that is in models within. `compiled` is what Keras would compile it
    with: `optimizer`, `loss`, `metrics`, each where it is known. `renamed` has the layers that Keras names otherwise
    than the graph. `lacks` says what the graph has and Keras lacks, by what it is about; `lost` why there is no network
    of Keras any more. `penalties` has what the training puts on kernels: `l1`, `l2`, `max_norm`. `constrained` names
    the weights that Keras would bring back into bounds after each step, which the graph does not. Of outputs that are
    `masked` Keras's losses leave time steps out.
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

    def cut_after(self, tensor: str) -> "KerasNetwork":
        """Return the network up to a tensor, without a loss and an optimizer; it is lost where Keras cannot be cut."""
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
        """Return the network with new layers, each in Keras's terms one or several, and the tensors that they give.

        A name that is taken, or that Keras does not allow, gets another form.
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
        """Return the network with other parts of its compile config, and what Keras lacks of them."""
        return replace(self, compiled={**self.compiled, **config}).lacking(about, lacks)

    def lacking(self, about: str, what: Sequence[str]) -> "KerasNetwork":
        """Return the network with what Keras lacks of something; what was said of that before is forgotten."""
        others = {key: value for key, value in self.lacks.items() if key != about}
        return replace(self, lacks={**others, about: [*what]} if what else others)


def keras_network(graph: Graph) -> KerasNetwork | None:
    """Return the network that a graph says that it computes, None where it says none.

    Raises:
        GraphError: what it says cannot be read.
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
    """Return the graph with what it says of its network, or without."""
    if network == keras_network(graph):
        return graph
    header = graph.header_copy()
    header.collection_def.pop(KEY, None)
    if network is not None:
        collection = CollectionDef()
        collection.bytes_list.value.append(json.dumps(vars(network), separators=(",", ":")).encode())
        header.collection_def[KEY].CopyFrom(collection)
    return graph.having(header=header)
