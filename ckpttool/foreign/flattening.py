"""Dense layers behind a flattened image: how many channels the image has where a MatMul reads it in one row."""

from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph, TensorRef

CONVOLUTIONS = frozenset({"Conv2D", "Conv3D"})
FLATTENS = frozenset({"Reshape", "Flatten"})
POOLED_AWAY = frozenset({"Mean", "Max", "Sum", "ArgMax"})
"""Ops after which there is no image any more, only its channels."""


def flattened_channels(graph: Graph, matmul: str) -> int:
    """Return how many channels the image has that is flattened before a MatMul; 0 where none is, or it is not known.

    What is said is true of images with their channels last: those that have them first lie as they do in PyTorch.
    """
    path = _back(graph, matmul)
    flattens = [place for place, name in enumerate(path) if graph.nodes[name].op in FLATTENS]
    convolution = next((name for name in path if graph.nodes[name].op in CONVOLUTIONS), None)
    attributes = graph.nodes[convolution].attr if convolution else {}
    lies = attributes["data_format"].s if "data_format" in attributes else b""
    if not flattens or convolution is None or lies.startswith(b"NC"):
        return 0
    return _outputs(graph, convolution)


def _back(graph: Graph, name: str) -> list[str]:
    """Return the ops from one back to the first convolution, each by the first tensor that it reads."""
    path: list[str] = []
    while graph.inputs(name) and (name := graph.inputs(name)[0].op) in graph.nodes and name not in path:
        if graph.nodes[name].op in POOLED_AWAY or graph.nodes[name].op == "MatMul":
            break
        path.append(name)
        if graph.nodes[name].op in CONVOLUTIONS:
            break
    return path


def _outputs(graph: Graph, convolution: str) -> int:
    """Return the outputs of a convolution, by the shape of the variable that is its kernel."""
    source = graph.inputs(convolution)[1] if len(graph.inputs(convolution)) > 1 else TensorRef("", 0)
    below = graph.ancestors(source.op)
    shapes = [stored.shape for stored in stored_tensors(graph).values() if any(v.op in below for v in stored.members)]
    return shapes[0][-1] if len(shapes) == 1 and shapes[0] else 0
