"""The Keras network of a traced graph: its config, and the layer calls that output its tensors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ckpttool.formats.keras.cutting import Call
from ckpttool.graph.contents.keras_network import KerasNetwork
from ckpttool.runtime.keras.private.walking import calls_of_network
from ckpttool.runtime.keras.trace import Traced


def described(traced: Traced) -> KerasNetwork:
    """Return the network that a graph was traced from, with the calls that output the graph's tensors."""
    model, network = traced.model, traced.model.network
    return KerasNetwork(
        network.architecture,
        _rows(model.live, traced.calls),
        network.compiled or {},
        network.renamed,
        constrained=model.constrained,
        masked=traced.is_masked,
        not_compiled=network.not_compiled,
    )


def _rows(live: Any, calls: Mapping[str, tuple[Any, ...]]) -> dict[str, list[Call]]:
    """Return the chain of calls that outputs each tensor; several outputs of a call are listed in order."""
    models = {id(model): model for nodes in calls.values() for model in _models(live, nodes)}
    calls_of = {key: calls_of_network(model) for key, model in models.items()}
    given: Counter[int] = Counter()
    rows: dict[str, list[Call]] = {}
    for tensor, nodes in calls.items():
        row = [calls_of[id(model)][id(node)] for model, node in zip(_models(live, nodes), nodes, strict=True)]
        outputs = [0] * (len(row) - 1) + [given[id(nodes[-1])]]
        given[id(nodes[-1])] += 1
        rows[tensor] = [(name, number, output) for (name, number), output in zip(row, outputs, strict=True)]
    return rows


def _models(live: Any, nodes: Sequence[Any]) -> list[Any]:
    """Return the nested models of a chain of nodes, one for each node."""
    return [live, *(node.operation for node in nodes[:-1])]
