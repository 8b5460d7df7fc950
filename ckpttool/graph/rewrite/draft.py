"""Tools for rewrites: a draft of the new graph, unused names, redirected inputs."""

from collections.abc import Container, Iterable, Mapping

from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph, TensorRef


class Draft:
    """A graph in the course of a rewrite: an op or the header is copied when it is changed, all else is shared.

    `graph` is the unchanged original, which can be queried while ops are changed:

        draft = Draft(graph)
        for name in graph.consumers["X"]:
            draft.op(name).input[0] = "Z"
        return draft.sealed()
    """

    def __init__(self, graph: Graph) -> None:
        """Begin with a graph's ops and header."""
        self.graph = graph
        self.nodes: dict[str, NodeDef] = dict(graph.nodes)
        """The current ops, in the order of the new graph; to change one, get it by `op`."""
        self._behind: dict[str, list[NodeDef]] = {}
        self._header: MetaGraphDef | None = None

    def op(self, name: str) -> NodeDef:
        """Return an op, which may be changed in place, except for its name."""
        node = self.nodes[name]
        if node is self.graph.nodes.get(name):
            self.nodes[name] = copy_of(node)
        return self.nodes[name]

    @property
    def header(self) -> MetaGraphDef:
        """The collections, functions, saver and signatures, which may be changed in place; it has no ops."""
        if self._header is None:
            self._header = self.graph.header_copy()
        return self._header

    def add(self, *nodes: NodeDef, behind: str | None = None) -> None:
        """Add ops after the op `behind`, or at the end."""
        if behind is None:
            self.nodes |= {node.name: node for node in nodes}
        else:
            self._behind.setdefault(behind, []).extend(nodes)

    def redirect(self, replacements: Mapping[TensorRef, TensorRef], readers: Container[str] | None = None) -> None:
        """Replace inputs of ops (all, or those in `readers`)."""
        refs = self.graph.refs
        for name, node in list(self.nodes.items()) if replacements else ():
            if (readers is None or name in readers) and any(refs[text] in replacements for text in node.input):
                redirect(self.op(name), replacements)

    def sealed(self) -> Graph:
        """Return the new graph, or the original if nothing has changed.

        Raises:
            GraphError: two ops have one name.
        """
        old = self.graph.nodes
        nodes = list(self.nodes.values())
        if self._behind:
            nodes = [each for node in nodes for each in (node, *self._behind.get(node.name, ()))]
        header = None if self._header is None or self._header == self.graph.bare_header else self._header
        if header is None and len(old) == len(nodes) and all(node is old.get(node.name) for node in nodes):
            return self.graph
        return self.graph.having(nodes, header)


def copy_of(node: NodeDef) -> NodeDef:
    """Return a copy of an op."""
    copy = NodeDef()
    copy.CopyFrom(node)
    return copy


def free_name(wanted: str, taken: Container[str]) -> str:
    """Return the wanted name, with a number as TensorFlow appends it if the name is taken.

    >>> free_name("relu/stop_gradient", {"relu/stop_gradient"})
    'relu/stop_gradient_1'
    """
    name, count = wanted, 0
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name


def input_text(ref: TensorRef) -> str:
    """Return a tensor in the notation of node inputs, in which index 0 is omitted.

    >>> input_text(TensorRef("split", 0)), input_text(TensorRef("split", 1)), input_text(TensorRef("init", -1))
    ('split', 'split:1', '^init')
    """
    if ref.index < 0:
        return f"^{ref.op}"
    return ref.op if ref.index == 0 else f"{ref.op}:{ref.index}"


def redirect(node: NodeDef, replacements: Mapping[TensorRef, TensorRef]) -> None:
    """Replace inputs of a node."""
    for position, text in enumerate(node.input):
        replacement = replacements.get(TensorRef.parse(text))
        if replacement is not None:
            node.input[position] = input_text(replacement)


def set_inputs(node: NodeDef, data: Iterable[TensorRef], control: Iterable[str] = ()) -> None:
    """Set the inputs of a node: tensors, then control inputs without duplicates."""
    texts = [input_text(ref) for ref in data] + [f"^{op}" for op in dict.fromkeys(control)]
    del node.input[:]
    node.input.extend(texts)


def make_identity(node: NodeDef, ref: TensorRef) -> None:
    """Turn an op into an `Identity` of another tensor of the same dtype, so that its name can still be used."""
    dtype, waited = node.attr["T"].type, control_inputs(node)
    node.op = "Identity"
    node.ClearField("attr")
    node.attr["T"].type = dtype
    set_inputs(node, [ref], waited)


def control_inputs(node: NodeDef) -> list[str]:
    """Return the ops of a node's control inputs."""
    return [text[1:] for text in node.input if text.startswith("^")]


def type_attr(number: int) -> AttrValue:
    """Return an attribute with a dtype; a reference type becomes its base type."""
    return AttrValue(type=number - 100 if number > 100 else number)  # type: ignore[arg-type]


def last_of(ref: TensorRef, replacements: Mapping[TensorRef, TensorRef]) -> TensorRef:
    """Return the tensor at the end of a chain of replacements."""
    while ref in replacements:
        ref = replacements[ref]
    return ref
