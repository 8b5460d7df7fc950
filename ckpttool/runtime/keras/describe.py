"""What a traced graph says of its network of Keras: the config, and which calls of layers give which tensors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ckpttool.formats.keras.cutting import Call
from ckpttool.graph.contents.keras_network import KerasNetwork
from ckpttool.runtime.keras.private.walking import calls_of_network
from ckpttool.runtime.keras.trace import Traced


def described(traced: Traced) -> KerasNetwork:
    """Return the network that a graph was traced from, and which of its calls give which tensors of the graph."""
    model, network = traced.model, traced.model.network
    return KerasNetwork(
        network.architecture,
        _rows(model.live, traced.calls),
        network.compiled or {},
        network.renamed,
        constrained=model.constrained,
        masked=traced.is_masked,
    )


def _rows(live: Any, calls: Mapping[str, tuple[Any, ...]]) -> dict[str, list[Call]]:
    """Return the row of calls that gives each tensor: of a call that gives several, they are listed in their order."""
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
    """Return the models that a row of nodes goes through, one for each node."""
    return [live, *(node.operation for node in nodes[:-1])]
