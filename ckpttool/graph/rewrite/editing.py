"""What every rewrite needs: a graph with other nodes, names that are free, inputs that are redirected."""

from collections.abc import Container, Iterable, Mapping

from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph, TensorRef, copy_of


def with_nodes(graph: Graph, nodes: Iterable[NodeDef]) -> MetaGraphDef:
    """Return the graph's message with other nodes; the nodes are copied."""
    nodes = list(nodes)
    meta = copy_of(graph)
    del meta.graph_def.node[:]
    meta.graph_def.node.extend(nodes)
    return meta


def copies(graph: Graph) -> dict[str, NodeDef]:
    """Return the graph's nodes by name, in order, each a copy that may be changed."""
    found = {}
    for name, node in graph.nodes.items():
        found[name] = NodeDef()
        found[name].CopyFrom(node)
    return found


def free_name(wanted: str, taken: Container[str]) -> str:
    """Return a name that no op has, numbered as TensorFlow does where the wanted one is taken.

    >>> free_name("relu/stop_gradient", {"relu/stop_gradient"})
    'relu/stop_gradient_1'
    """
    name, count = wanted, 0
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name


def input_text(ref: TensorRef) -> str:
    """Return a tensor as nodes write it in their inputs: output 0 goes without its number.

    >>> input_text(TensorRef("split", 0)), input_text(TensorRef("split", 1)), input_text(TensorRef("init", -1))
    ('split', 'split:1', '^init')
    """
    if ref.index < 0:
        return f"^{ref.op}"
    return ref.op if ref.index == 0 else f"{ref.op}:{ref.index}"


def redirect(node: NodeDef, replacements: Mapping[TensorRef, TensorRef]) -> None:
    """Let a node read other tensors in the places of some of its inputs."""
    for position, text in enumerate(node.input):
        replacement = replacements.get(TensorRef.parse(text))
        if replacement is not None:
            node.input[position] = input_text(replacement)


def set_inputs(node: NodeDef, data: Iterable[TensorRef], control: Iterable[str] = ()) -> None:
    """Give a node its inputs anew: tensors first, then the ops that it waits for, each once."""
    texts = [input_text(ref) for ref in data] + [f"^{op}" for op in dict.fromkeys(control)]
    del node.input[:]
    node.input.extend(texts)


def control_inputs(node: NodeDef) -> list[str]:
    """Return the ops that a node only waits for."""
    return [text[1:] for text in node.input if text.startswith("^")]


def type_attr(number: int) -> AttrValue:
    """Return an attribute that holds a dtype; a reference type becomes its base type."""
    return AttrValue(type=number - 100 if number > 100 else number)  # type: ignore[arg-type]
