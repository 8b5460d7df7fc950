"""Which activation a tensor comes from, past ops that only pick, move or join its values."""

from collections.abc import Collection

from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ACTIVATIONS, PICKS


def activated(graph: Graph, tensor: str, needed: Collection[str]) -> tuple[str, str | None]:
    """Return the tensor of a layer's activation, and the type of its op; None where the layer has none that is known.

    The activation makes the tensor, or is the only one of the `needed` ops that reads it: a graph may apply it outside
    of the layer's scope.
    """
    ref = TensorRef.parse(tensor)
    kind = _made_by(graph, ref.op)
    if kind is not None:
        return tensor, kind
    readers = [name for name in graph.consumers.get(ref.op, []) if name in needed]
    after = [name for name in readers if graph.nodes[name].op in ACTIVATIONS - {"Softmax"}]
    return (f"{after[0]}:0", graph.nodes[after[0]].op) if len(after) == 1 else (tensor, None)


def _made_by(graph: Graph, op: str) -> str | None:
    seen: set[str] = set()
    while graph.nodes[op].op in PICKS and graph.nodes[op].input and op not in seen:
        seen.add(op)
        op = graph.inputs(op)[0].op
    return graph.nodes[op].op if graph.nodes[op].op in ACTIVATIONS else None
