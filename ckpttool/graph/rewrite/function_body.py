"""Function bodies, inlined at a call: maps the names inside a function to ops and tensors of the calling graph."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ckpttool.core.counts import counted
from ckpttool.core.errors import GraphError
from ckpttool.core.names import number_in
from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, FunctionDef, NodeDef, OpDef
from ckpttool.graph.output_arguments import Arguments, tensors_of
from ckpttool.graph.rewrite.draft import type_attr
from ckpttool.graph.rewrite.functions import functions_in
from ckpttool.graph.rewrite.stand_ins import op_of


@dataclass(frozen=True)
class Call:
    """An op that calls a function: its name, inputs, control inputs, and the attributes that it passes.

    `scope` is the prefix of the names of the inlined ops.
    """

    name: str
    scope: str
    function: FunctionDef
    inputs: Sequence[str]
    waits: Sequence[str]
    attrs: Mapping[str, AttrValue]
    device: str


class Body:
    """The ops of a function for one call; `names` maps their names in the function to their names in the graph.

    In a function, `x` is an argument, `op:argument:index` an output of an op, counted within one of its output
    arguments, and `op:argument` all outputs of that argument (tensorflow/core/framework/function.proto).
    """

    def __init__(self, call: Call, names: Mapping[str, str], outputs: Mapping[str, Arguments], source: str) -> None:
        """Resolve the function's arguments; `outputs` are the output arguments of op types, others have a single one.

        Raises:
            GraphError: the call passes another number of tensors than the function has arguments.
        """
        self.call, self.names, self.outputs, self.source = call, names, outputs, source
        self.function = call.function
        defaults = {attr.name: attr.default_value for attr in self.function.signature.attr}
        self.attrs: Mapping[str, AttrValue] = {**defaults, **call.attrs} if defaults else call.attrs
        self.nodes = {node.name: node for node in self.function.node_def}
        self.arguments = dict(self._arguments())

    def node(self, inner: NodeDef) -> NodeDef:
        """Return a copy of an op of the body with its name, inputs and attributes in the graph.

        Raises:
            GraphError: it reads a tensor that does not exist, or needs an attribute that the call does not specify.
        """
        node = NodeDef()
        node.CopyFrom(inner)
        node.name = self.names[inner.name]
        node.device = inner.device or self.call.device
        node.input[:] = [text for given in inner.input for text in self.texts(given)]
        if self.function.signature.attr:
            self._fill(node.attr)
        if "_class" in node.attr:
            self._place(node)
        return node

    def texts(self, text: str) -> Sequence[str]:
        """Return the inputs in the graph for an input of an op in the body; several if it is a list of tensors.

        Raises:
            GraphError: it refers to no argument, op or output of the function.
        """
        if text.startswith("^"):
            return [f"^{self.outside(text[1:])}"]
        if text in self.arguments:
            return self.arguments[text]
        name, _, place = text.partition(":")
        if name not in self.nodes:
            raise self._error(f"reads {text}, which is not in it")
        argument, _, index = place.partition(":")
        position = number_in(index)
        if index and position is None:
            raise self._error(f"reads {text}, which is not an output")
        first, count = self._outputs(self.nodes[name], argument)
        places = [first + position] if position is not None else range(first, first + count)
        return [output_text(self.names[name], position) for position in places]

    def value(self, inner: NodeDef) -> str:
        """Return the tensor in the graph that an op of the body passes on unchanged.

        Raises:
            GraphError: the op does not have exactly one input tensor.
        """
        given = [text for each in list(inner.input)[:1] for text in self.texts(each)]
        if len(given) != 1 or given[0].startswith("^"):
            raise self._error(
                f"has the op {inner.name} ({inner.op}), which receives {counted(len(given), 'tensor')} instead of one"
            )
        return given[0]

    def outside(self, name: str) -> str:
        """Return the op in the graph for an op or argument of the body.

        Raises:
            GraphError: the function has no such op or argument.
        """
        if name in self.names:
            return self.names[name]
        if given := self.arguments.get(name):
            return op_of(given[0])
        raise self._error(f"waits for {name}, which is not in it")

    @cached_property
    def returned(self) -> list[str]:
        """The tensors in the graph that the function returns.

        Raises:
            GraphError: the function does not define one of its outputs.
        """
        return [text for argument in self.function.signature.output_arg for text in self._returned(argument)]

    def held(self, name: str, place: int, ops: Sequence[str]) -> NodeDef:
        """Return an identity of the function's output at an index, with control inputs from some ops."""
        types = [number for argument in self.function.signature.output_arg for number in self._types(argument)]
        node = NodeDef(name=name, op="Identity", input=[self.returned[place], *(f"^{op}" for op in ops)])
        node.attr["T"].CopyFrom(type_attr(types[place]))
        return node

    def _types(self, argument: OpDef.ArgDef) -> Sequence[int]:
        """Return the dtypes (by number) of an argument's tensors."""
        if argument.type_list_attr:
            return self.attrs[argument.type_list_attr].list.type
        return [argument.type or self.attrs[argument.type_attr].type] * self._size(argument)

    def _returned(self, argument: OpDef.ArgDef) -> Sequence[str]:
        if argument.name not in self.function.ret:
            raise self._error(f"does not define its output {argument.name}")
        return self.texts(self.function.ret[argument.name])

    def _arguments(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield each argument with its tensors in the graph, and each element of an argument as `argument:index`."""
        signature, position = self.function.signature, 0
        sizes = [self._size(argument) for argument in signature.input_arg]
        if sum(sizes) != len(self.call.inputs):
            raise GraphError(
                f"{self.source}: {self.call.name} passes {counted(len(self.call.inputs), 'tensor')} to the function "
                f"{signature.name}, which has {sum(sizes)} arguments"
            )
        for argument, size in zip(signature.input_arg, sizes, strict=True):
            if argument.name in self.nodes:
                raise self._error(f"has an argument and an op named {argument.name}")
            given = self.call.inputs[position : position + size]
            yield argument.name, given
            yield from ((f"{argument.name}:{place}", [text]) for place, text in enumerate(given))
            position += size

    def _size(self, argument: OpDef.ArgDef) -> int:
        attribute = argument.number_attr or argument.type_list_attr
        if not attribute:
            return 1
        value = self.attrs.get(attribute, AttrValue())
        return max(value.i, len(value.list.type))

    def _outputs(self, node: NodeDef, argument: str) -> tuple[int, int]:
        """Return the index of an output argument's first tensor among an op's outputs, and its number of tensors."""
        position, filled, arguments = 0, node, self.outputs.get(node.op, (("", ""),))
        if self.function.signature.attr:
            filled = NodeDef()
            filled.CopyFrom(node)
            self._fill(filled.attr)
        for name, attribute in arguments:
            count = tensors_of(filled, attribute)
            if name == argument or len(arguments) == 1:
                return position, count
            position += count
        raise self._error(f"reads the output {argument} of {node.name} ({node.op}), which has no such output")

    def _fill(self, attrs: Mapping[str, AttrValue]) -> None:
        """Replace, in place, placeholders in attributes (also in those of functions) by the call's attributes."""
        for attr in attrs.values():
            if attr.WhichOneof("value") == "placeholder":
                if attr.placeholder not in self.attrs:
                    raise self._error(
                        f"needs the attribute {attr.placeholder}, which {self.call.name} does not specify"
                    )
                attr.CopyFrom(self.attrs[attr.placeholder])
            else:
                for function in functions_in(attr):
                    self._fill(function.attr)

    def _place(self, node: NodeDef) -> None:
        """Translate, in place, an op's colocations with ops of the body; others are removed."""
        places = node.attr["_class"].list.s
        local = [raw.decode("utf-8", "replace").removeprefix("loc:@") for raw in places]
        places[:] = [f"loc:@{self.names[name]}".encode() for name in local if name in self.names]
        if not places:
            del node.attr["_class"]

    def _error(self, problem: str) -> GraphError:
        return GraphError(f"{self.source}: the function {self.function.signature.name} {problem}")


def output_text(name: str, place: int) -> str:
    """Return an output of an op in the notation of node inputs: index 0 is omitted."""
    return f"{name}:{place}" if place else name
