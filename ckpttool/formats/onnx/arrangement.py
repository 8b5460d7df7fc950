"""Reads facts about initialisers from the nodes of an ONNX model: layouts of kernels, epsilons of normalisations.

Convolutions have their outputs first, as in PyTorch; a MatMul has its inputs first, a Gemm depends on `transB`. Images
have their channels first, unless they are transposed before they are flattened. The operators:
https://onnx.ai/onnx/operators.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.format import Arrangement
from ckpttool.formats.onnx.model import GRAPH, NODE, NODE_ATTRIBUTE, NODE_OUTPUT
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.wire_fields import FIXED32, WireField, fields
from ckpttool.formats.wire import varint

NODE_INPUT, NODE_TYPE = 1, 4
ATTRIBUTE_NAME, ATTRIBUTE_FLOAT, ATTRIBUTE_INTEGER, ATTRIBUTE_INTEGERS = 1, 2, 3, 8
NAME_LIMIT = 64 << 10
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "FusedConv"})
CELLS = frozenset({"LSTM", "GRU"})
PRODUCTS = frozenset({"MatMul", "MatMulInteger", "FusedMatMul", "Gemm"})
IMAGES = CONVOLUTIONS | {"MaxPool", "AveragePool", "BatchNormalization", "InstanceNormalization"}
"""Ops whose output is an image with channels first."""
FLATTENS = frozenset({"Flatten", "Reshape"})
ALONG = frozenset({"Identity", "Cast", "CastLike", "Dropout", "QuantizeLinear", "DequantizeLinear"})
"""Ops that return their first input in the same layout."""
EPSILON = 1e-5
"""The default epsilon of a BatchNormalization."""


@dataclass(frozen=True)
class OnnxNode:
    """An op of the main graph: its type, its inputs and outputs by name, and the numbers among its attributes."""

    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Mapping[str, float | tuple[int, ...]] = field(default_factory=dict)

    def flag(self, name: str) -> bool:
        """Return whether an attribute exists and is not 0."""
        return bool(self.numbers.get(name, 0))


class Reader(NamedTuple):
    """A node that reads a tensor, the index among its inputs, and whether the last two axes were swapped before."""

    node: OnnxNode
    place: int
    swapped: bool


def arrangements(file: CheckpointFile) -> dict[str, Arrangement]:
    """Return the arrangements of the tensors that nodes of a model's main graph read, by name.

    Raises:
        CorruptCheckpoint: the file is damaged.
    """
    try:
        return _Wiring(list(_nodes(file))).arrangements()
    except FormatError:
        raise
    except ValueError as error:
        raise CorruptCheckpoint(f"{file.path}: a node is damaged: {error}") from error


class _Wiring:
    """The nodes that read each tensor, and the node that computes it."""

    def __init__(self, nodes: list[OnnxNode]) -> None:
        self.readers: dict[str, list[tuple[OnnxNode, int]]] = {}
        self.makers: dict[str, OnnxNode] = {}
        for node in nodes:
            for place, name in enumerate(node.inputs):
                self.readers.setdefault(name, []).append((node, place))
            self.makers |= dict.fromkeys(node.outputs, node)

    def arrangements(self) -> dict[str, Arrangement]:
        """Return the arrangement of each tensor that no node computes, by the first node that determines it."""
        found: dict[str, Arrangement] = {}
        for name in self.readers:
            said = map(self._said, self._readers(name)) if name not in self.makers else iter(())
            if first := next((each for each in said if each != Arrangement()), None):
                found[name] = first
        return found

    def _readers(self, name: str) -> Iterator[Reader]:
        """Yield the nodes that read a tensor, also after casts and transpositions."""
        todo, seen = [(name, False)], {name}
        for tensor, swapped in todo:
            for node, place in self.readers.get(tensor, ()):
                yield Reader(node, place, swapped)
                turns = node.type == "Transpose"
                if place == 0 and (turns or node.type in ALONG) and node.outputs and node.outputs[0] not in seen:
                    seen.add(node.outputs[0])
                    todo.append((node.outputs[0], swapped != (turns and _swaps(node))))

    def _said(self, reader: Reader) -> Arrangement:
        """Return the arrangement that a node implies for a tensor that it reads; empty if it implies none."""
        node, place, swapped = reader
        if node.type == "BatchNormalization" and place:
            return Arrangement(epsilon=float(node.numbers.get("epsilon", EPSILON)))  # type: ignore[arg-type]
        if node.type in CELLS and 0 < place < 4 and (node.type == "LSTM" or node.flag("linear_before_reset")):
            return Arrangement(cell=tuple(name for name in node.inputs[1:4] if name))
        if node.type in CONVOLUTIONS and place == 1:
            return Arrangement(outputs_first=not swapped)
        if node.type not in PRODUCTS or place > 1:
            return Arrangement()
        transposed = node.flag("transB" if place else "transA") != swapped
        if place == 0:
            return Arrangement(outputs_first=not transposed)
        return Arrangement(transposed, self._channels_first(node.inputs[0]))

    def _channels_first(self, name: str) -> bool | None:
        """Return whether a flattened image that a product reads has its channels first; None if it is no image."""
        flattened, last = False, False
        for _ in range(len(self.makers)):
            node = self.makers.get(name)
            if node is None or not node.inputs or node.type in PRODUCTS:
                return None
            if node.type in IMAGES:
                return not last if flattened else None
            flattened |= node.type in FLATTENS
            last |= node.type == "Transpose" and _is_channels_last(node)
            name = node.inputs[0]
        return None


def _swaps(node: OnnxNode) -> bool:
    """Return whether a Transpose swaps the last two axes, which is the default for a matrix."""
    order = node.numbers.get("perm", (1, 0))
    return isinstance(order, tuple) and len(order) > 1 and order[-2:] == (len(order) - 1, len(order) - 2)


def _is_channels_last(node: OnnxNode) -> bool:
    """Return whether a Transpose moves the channels of an image to the end."""
    order = node.numbers.get("perm", ())
    return isinstance(order, tuple) and len(order) > 2 and order == (0, *range(2, len(order)), 1)


def _nodes(file: CheckpointFile) -> Iterator[OnnxNode]:
    """Yield the nodes of the main graph; tensors in their attributes are not read."""
    for graph in (each for each in fields(file, 0, file.size) if each.number == GRAPH):
        for node in (each for each in fields(file, graph.start, graph.end) if each.number == NODE):
            parts = list(fields(file, node.start, node.end))
            texts = {number: _texts(file, parts, number) for number in (NODE_INPUT, NODE_OUTPUT, NODE_TYPE)}
            numbers = dict(_attribute(file, part) for part in parts if part.number == NODE_ATTRIBUTE)
            yield OnnxNode("".join(texts[NODE_TYPE]), texts[NODE_INPUT], texts[NODE_OUTPUT], numbers)


def _texts(file: CheckpointFile, parts: list[WireField], number: int) -> tuple[str, ...]:
    return tuple(_text(file, part) for part in parts if part.number == number)


def _text(file: CheckpointFile, part: WireField) -> str:
    return file.piece(min(part.end - part.start, NAME_LIMIT), part.start).decode("utf-8", "backslashreplace")


def _attribute(file: CheckpointFile, message: WireField) -> tuple[str, float | tuple[int, ...]]:
    """Return an attribute's name, and its number or integers; 0 for other attributes."""
    name, value = "", 0.0
    integers: list[int] = []
    for part in fields(file, message.start, message.end):
        if part.number == ATTRIBUTE_NAME:
            name = _text(file, part)
        elif part.number == ATTRIBUTE_FLOAT and part.kind == FIXED32:
            (value,) = struct.unpack("<f", file.piece(4, part.start))
        elif part.number in (ATTRIBUTE_INTEGER, ATTRIBUTE_INTEGERS):
            read = [*_integers(file, part)]
            value, integers = float(read[0]) if read else 0.0, integers + read * (part.number == ATTRIBUTE_INTEGERS)
    return name, tuple(integers) or value


def _integers(file: CheckpointFile, part: WireField) -> Iterator[int]:
    """Yield one integer, or several packed ones."""
    raw = file.piece(min(part.end - part.start, NAME_LIMIT), part.start)
    place = 0
    while place < len(raw):
        value, place = varint.decode(raw, place, len(raw))
        yield value
