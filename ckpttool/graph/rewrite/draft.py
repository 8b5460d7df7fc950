"""What every rewrite needs: a draft of the new graph, names that are free, inputs that are redirected."""

from collections.abc import Container, Iterable, Mapping

from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph, TensorRef


class Draft:
    """A graph on its way to another one: an op or the header is copied when it is changed, all else is shared.

    `graph` stays as it was and answers questions, for ops are changed by the answers to them:

        draft = Draft(graph)
        for name in graph.consumers["X"]:
            draft.op(name).input[0] = "Z"
        return draft.sealed()
    """

    def __init__(self, graph: Graph) -> None:
        """Begin with all that a graph has."""
        self.graph = graph
        self.nodes: dict[str, NodeDef] = dict(graph.nodes)
        """The ops as they are now, in the order in which the new graph has them; `op` gives one to change."""
        self._behind: dict[str, list[NodeDef]] = {}
        self._header: MetaGraphDef | None = None

    def op(self, name: str) -> NodeDef:
        """Return an op to be changed in place, but for its name."""
        node = self.nodes[name]
        if node is self.graph.nodes.get(name):
            self.nodes[name] = copy_of(node)
        return self.nodes[name]

    @property
    def header(self) -> MetaGraphDef:
        """The collections, functions, saver and signatures, to be changed in place; it has no ops."""
        if self._header is None:
            self._header = self.graph.header_copy()
        return self._header

    def add(self, *nodes: NodeDef, behind: str | None = None) -> None:
        """Put ops behind another one, or last."""
        if behind is None:
            self.nodes |= {node.name: node for node in nodes}
        else:
            self._behind.setdefault(behind, []).extend(nodes)

    def redirect(self, replacements: Mapping[TensorRef, TensorRef], readers: Container[str] | None = None) -> None:
        """Let ops (all, or those named by `readers`) read other tensors in the places of some."""
        refs = self.graph.refs
        for name, node in list(self.nodes.items()) if replacements else ():
            if (readers is None or name in readers) and any(refs[text] in replacements for text in node.input):
                redirect(self.op(name), replacements)

    def sealed(self) -> Graph:
        """Return the new graph; the old one where nothing has changed.

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
    """Return an op like another one, to be changed."""
    copy = NodeDef()
    copy.CopyFrom(node)
    return copy


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


def make_identity(node: NodeDef, ref: TensorRef) -> None:
    """Let an op that somebody may ask for by its name give another tensor, of its own dtype, unchanged."""
    dtype, waited = node.attr["T"].type, control_inputs(node)
    node.op = "Identity"
    node.ClearField("attr")
    node.attr["T"].type = dtype
    set_inputs(node, [ref], waited)


def control_inputs(node: NodeDef) -> list[str]:
    """Return the ops that a node only waits for."""
    return [text[1:] for text in node.input if text.startswith("^")]


def type_attr(number: int) -> AttrValue:
    """Return an attribute that holds a dtype; a reference type becomes its base type."""
    return AttrValue(type=number - 100 if number > 100 else number)  # type: ignore[arg-type]


def last_of(ref: TensorRef, replacements: Mapping[TensorRef, TensorRef]) -> TensorRef:
    """Return the tensor at the end of a row of replacements, each of which may itself be replaced."""
    while ref in replacements:
        ref = replacements[ref]
    return ref
