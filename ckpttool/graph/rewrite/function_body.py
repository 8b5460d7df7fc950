"""The body of a function where it is called: what each text in it stands for, outside."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ckpttool.core.counts import counted
from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, FunctionDef, NodeDef, OpDef
from ckpttool.graph.output_arguments import Arguments, tensors_of
from ckpttool.graph.rewrite.draft import type_attr
from ckpttool.graph.rewrite.functions import functions_in
from ckpttool.graph.rewrite.stand_ins import op_of


@dataclass(frozen=True)
class Call:
    """An op that calls a function: its name, what it reads and waits for, and the attributes that it gives.

    `scope` is what the names of the body's ops begin with.
    """

    name: str
    scope: str
    function: FunctionDef
    inputs: Sequence[str]
    waits: Sequence[str]
    attrs: Mapping[str, AttrValue]
    device: str


class Body:
    """The ops of a function for one call; `names` has the name of each outside, by that in the function.

    In a function `x` is an argument, `op:argument:place` the output of an op, counted within one of its output
    arguments, and `op:argument` all of these (tensorflow/core/framework/function.proto).
    """

    def __init__(self, call: Call, names: Mapping[str, str], outputs: Mapping[str, Arguments], source: str) -> None:
        """Take the output arguments of ops by type; a type that is not among these has one.

        Raises:
            GraphError: the call gives other arguments than the function takes.
        """
        self.call, self.names, self.outputs, self.source = call, names, outputs, source
        self.function = call.function
        defaults = {attr.name: attr.default_value for attr in self.function.signature.attr}
        self.attrs: Mapping[str, AttrValue] = {**defaults, **call.attrs} if defaults else call.attrs
        self.nodes = {node.name: node for node in self.function.node_def}
        self.arguments = dict(self._arguments())

    def node(self, inner: NodeDef) -> NodeDef:
        """Return an op of the body as it is outside.

        Raises:
            GraphError: it reads what is not there, or needs an attribute that the call does not give.
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
        """Return what a text of the body stands for outside.

        Raises:
            GraphError: it stands for nothing.
        """
        if text.startswith("^"):
            return [f"^{self.outside(text[1:])}"]
        if text in self.arguments:
            return self.arguments[text]
        name, _, place = text.partition(":")
        if name not in self.nodes:
            raise self._error(f"reads {text}, which is not in it")
        argument, _, index = place.partition(":")
        if index and not index.isdigit():
            raise self._error(f"reads {text}, which is not an output")
        first, count = self._outputs(self.nodes[name], argument)
        places = [first + int(index)] if index else range(first, first + count)
        return [output_text(self.names[name], position) for position in places]

    def value(self, inner: NodeDef) -> str:
        """Return the tensor outside that an op of the body gives on as it is.

        Raises:
            GraphError: it does not give on one tensor.
        """
        given = [text for each in list(inner.input)[:1] for text in self.texts(each)]
        if len(given) != 1 or given[0].startswith("^"):
            raise self._error(
                f"has the op {inner.name} ({inner.op}), which receives {counted(len(given), 'tensor')} instead of one"
            )
        return given[0]

    def outside(self, name: str) -> str:
        """Return the op outside that an op or argument of the body stands for.

        Raises:
            GraphError: there is none.
        """
        if name in self.names:
            return self.names[name]
        if given := self.arguments.get(name):
            return op_of(given[0])
        raise self._error(f"waits for {name}, which is not in it")

    @cached_property
    def returned(self) -> list[str]:
        """What the function returns, as it is called outside.

        Raises:
            GraphError: it says not what.
        """
        return [text for argument in self.function.signature.output_arg for text in self._returned(argument)]

    def held(self, name: str, place: int, ops: Sequence[str]) -> NodeDef:
        """Return an op that gives what the function returns at a place, once some ops have run."""
        types = [number for argument in self.function.signature.output_arg for number in self._types(argument)]
        node = NodeDef(name=name, op="Identity", input=[self.returned[place], *(f"^{op}" for op in ops)])
        node.attr["T"].CopyFrom(type_attr(types[place]))
        return node

    def _types(self, argument: OpDef.ArgDef) -> Sequence[int]:
        """Return the dtypes of the tensors that an argument stands for."""
        if argument.type_list_attr:
            return self.attrs[argument.type_list_attr].list.type
        return [argument.type or self.attrs[argument.type_attr].type] * self._size(argument)

    def _returned(self, argument: OpDef.ArgDef) -> Sequence[str]:
        if argument.name not in self.function.ret:
            raise self._error(f"does not define its output {argument.name}")
        return self.texts(self.function.ret[argument.name])

    def _arguments(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield what each argument stands for; of those that are lists also what each place in them does."""
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
        """Return the place among an op's outputs where an output argument begins, and how many tensors it is."""
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
        """Put what the call gives into the places that attributes hold for it, in place; and into their functions'."""
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
        """Let an op be where the ops outside are that stand for those of the body which it names."""
        places = node.attr["_class"].list.s
        local = [raw.decode("utf-8", "replace").removeprefix("loc:@") for raw in places]
        places[:] = [f"loc:@{self.names[name]}".encode() for name in local if name in self.names]
        if not places:
            del node.attr["_class"]

    def _error(self, problem: str) -> GraphError:
        return GraphError(f"{self.source}: the function {self.function.signature.name} {problem}")


def output_text(name: str, place: int) -> str:
    """Return an output of an op as ops write it in their inputs."""
    return f"{name}:{place}" if place else name
