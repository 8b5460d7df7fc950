"""Find the constants of a frozen graph that were variables, and the variables' names.

Freezing replaces a variable by a Const: under its name in TensorFlow 1, in TensorFlow 2 under the name of the op that
read it (`fc/MatMul/ReadVariableOp/resource`). The read remains as an Identity, unless an optimizer removed it; then the
constant is a direct input of the op that computes with it. Shapes, axes and other original constants are not weights.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from ckpttool.core.dtypes import BY_NUMBER
from ckpttool.formats.tensorflow.tensor_proto import shape_of
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef

_VARIABLE = re.compile(r"Variable(V2)?|VarHandleOp|TemporaryVariable|AutoReloadVariable")
_READ = re.compile(r"(.*/)?(read|ReadVariableOp\w*)")
_READER = re.compile(r"/(ReadVariableOp(_\d+)?(/resource)?|merged_input|\d+)$")
"""Suffixes of constants named after the op that read the variable, or merged from several."""
_PASSES = frozenset(
    {"Identity", "Enter", "Switch", "Cast", "StopGradient", "Reshape", "Transpose", "ExpandDims", "Squeeze"}
)
_COMPUTES = re.compile(
    r"(?P<multiplies>(Batch)?MatMul(V2|V3)?|Einsum)|(?P<convolves>(DepthwiseC|C)onv\w*|BiasAdd(V1)?)|(?P<looks_up>Gather(V2)?)"
    r"|(?P<normalises>FusedBatchNorm\w*)|(?P<loops>(Stateless)?While)"
    r"|(?P<recurs>BlockLSTM\w*|LSTMBlockCell|GRUBlockCell|CudnnRNN\w*)"
)
"""Ops that compute with weights; the group determines which of their inputs are weights."""
_ELEMENTWISE = frozenset({"Add", "AddV2", "Sub", "Mul", "RealDiv"})
_ACTIVATIONS = frozenset(
    {
        "Relu",
        "Relu6",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Tanh",
        "Sigmoid",
        "Softplus",
        "Softsign",
        "MaxPool",
        "AvgPool",
        "Mean",
        "IdentityN",
    }
)
_STATISTICS = frozenset({"Square", "SquaredDifference", "Sum", "Neg", "Rsqrt", "TensorListStack", "StridedSlice"})
"""Further ops in layer normalisation, and those that select the results of a loop."""
_FACTORS = frozenset({"Rsqrt", "Sqrt", "Neg", "Reciprocal", "Concat", "ConcatV2"})
_PRODUCTS = ("multiplies", "convolves", "normalises", "looks_up", "loops", "recurs")
"""The groups of ops whose results other weights of the layer are added to or multiplied with."""
_ALWAYS_CONSTANT = re.compile(r"(.*/)?Const(_\d+)?")
_ROLES = {"normalises": {1: "gamma", 2: "beta", 3: "moving_mean", 4: "moving_variance"}, "looks_up": {0: "embeddings"}}
_BATCH_NORM = {"add": "moving_variance", "mul": "gamma", "mul_2": "moving_mean", "Neg": "moving_mean", "sub": "beta"}
"""The ops of `tf.nn.batch_normalization`, and the argument that is an input of each."""
_FUNCTIONS = re.compile(r"/(batchnorm|separable_conv2d|Tensordot|convolution|embedding_lookup)$")
"""Scopes that TensorFlow's functions open within that of a layer."""


def frozen_weights(nodes: Mapping[str, NodeDef], functions: Iterable[FunctionDef] = ()) -> dict[str, str]:
    """Return the names of a frozen graph's variables with their constants, empty if the graph still has variables.

    A constant is a weight if it is read as variables are. A float constant that is no scalar is also one if it is an
    input of a product, a convolution, a normalisation or a lookup, is added to or multiplied with a result of these, or
    is a loop variable that the loop's body, one of the `functions`, never changes.
    """
    if any(_VARIABLE.fullmatch(node.op) for node in nodes.values()):
        return {}
    flow = _Flow(nodes, functions)
    constants = [name for name, node in nodes.items() if node.op == "Const"]
    read = [name for name in constants if flow.is_read(name)]
    direct = [
        name for name in constants if flow.is_computed_with(name) and not (read and _ALWAYS_CONSTANT.fullmatch(name))
    ]
    chosen = set(read) | set(direct)
    candidates = {name: [*flow.names(name), name] for name in constants if name in chosen}
    counts = Counter(name for names in candidates.values() for name in dict.fromkeys(names))
    return {next((each for each in names if counts[each] == 1), op): op for op, names in candidates.items()}


class _Flow:
    """The data flow from a graph's constants to the ops that read them."""

    def __init__(self, nodes: Mapping[str, NodeDef], functions: Iterable[FunctionDef]) -> None:
        self._nodes = nodes
        self._functions = {function.signature.name: function for function in functions}
        self._readers: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for name, node in nodes.items():
            for place, text in enumerate(node.input):
                self._readers[text.partition(":")[0]].append((name, place))  # `^op` is another key: it passes no data
        products = [name for name, node in nodes.items() if _kind(node) in _PRODUCTS]
        self._products = self._behind(products)
        self._fixed = self._of_constants()

    def is_read(self, constant: str) -> bool:
        """Return whether a constant is read by an op that is named like the read of a variable."""
        readers = self._readers[constant]
        return any(self._nodes[name].op == "Identity" and _READ.fullmatch(name) for name, _ in readers)

    def is_computed_with(self, constant: str) -> bool:
        """Return whether a constant is a float tensor that an op takes as a weight."""
        tensor = self._nodes[constant].attr["value"].tensor if "value" in self._nodes[constant].attr else None
        dtype = BY_NUMBER.get(tensor.dtype) if tensor is not None else None
        if tensor is None or dtype is None or "float" not in dtype.name:
            return False
        shape = shape_of(tensor)
        return bool(shape) and math.prod(shape) > 0 and any(self._takes(*use) for use in self._uses(constant))

    def names(self, constant: str) -> Iterator[str]:
        """Yield possible names of a constant's variable, most likely first, without names of ops."""
        own = constant.removesuffix("/read")
        base = _READER.sub("", own)
        if base == own:
            yield own
            return
        roles = ((reader, role) for reader, place in self._uses(constant) if (role := self._role(reader, place)))
        for reader, role in islice(roles, 1):
            scope = reader.rpartition("/")[0]
            yield f"{_FUNCTIONS.sub('', scope) or reader}/{role}"
        yield from (name for name in (base, f"{base}/variable") if name not in self._nodes)

    def _uses(self, constant: str) -> Iterator[tuple[str, int]]:
        """Yield the ops that compute with a constant, and the input's index.

        Ops that pass it on, or compute with constants only, are followed to their readers.
        """
        seen, todo = {constant}, [constant]
        while todo:
            for name, place in self._readers[todo.pop()]:
                passes = self._nodes[name].op in _PASSES and place == 0
                if not passes:
                    yield name, place
                if (passes or name in self._fixed) and name not in seen:
                    seen.add(name)
                    todo.append(name)

    def _takes(self, name: str, place: int) -> bool:
        """Return whether the input of an op at an index is a weight."""
        node, kind = self._nodes[name], _kind(self._nodes[name])
        if node.op in _ELEMENTWISE and place < 2 <= len(node.input):
            return node.input[1 - place].partition(":")[0] in self._products
        if kind == "looks_up":
            return place == 0
        if kind == "loops":
            return self._is_kept(node, place)
        return kind == "multiplies" or (kind is not None and place > 0)

    def _is_kept(self, loop: NodeDef, place: int) -> bool:
        """Return whether a loop passes the input at an index unchanged to its next iteration."""
        body = self._functions.get(loop.attr["body"].func.name) if "body" in loop.attr else None
        if body is None or place >= min(len(body.signature.input_arg), len(body.signature.output_arg)):
            return False
        taken = body.signature.input_arg[place].name
        given = body.ret.get(body.signature.output_arg[place].name, "")
        passes = {node.name: node.input[0] for node in body.node_def if node.op == "Identity" and node.input}
        return taken in (given, passes.get(given.partition(":")[0]))

    def _behind(self, starts: list[str]) -> set[str]:
        """Return ops, and all that only pass on, activate, add to or multiply their results."""
        reached, todo = set(starts), list(starts)
        while todo:
            for name, _ in self._readers[todo.pop()]:
                if name not in reached and self._nodes[name].op in _ELEMENTWISE | _PASSES | _ACTIVATIONS | _STATISTICS:
                    reached.add(name)
                    todo.append(name)
        return reached

    def _of_constants(self) -> set[str]:
        """Return constants and ops computed from them only, such as factors of a normalisation or joined parts."""
        fixed = {name for name, node in self._nodes.items() if node.op == "Const"}
        todo = list(fixed)
        while todo:
            for name, _ in self._readers[todo.pop()]:
                node = self._nodes[name]
                alone = node.op in _ELEMENTWISE | _PASSES | _FACTORS and len(node.input) > 0
                if alone and name not in fixed and all(text.partition(":")[0] in fixed for text in node.input):
                    fixed.add(name)
                    todo.append(name)
        return fixed

    def _role(self, name: str, place: int) -> str | None:
        """Return the usual name of the weight at an input index of an op, such as "kernel", or None if unknown."""
        node, (scope, _, own) = self._nodes[name], name.rpartition("/")
        if scope.endswith("batchnorm"):
            return _BATCH_NORM.get(own)
        if node.op.startswith("BiasAdd") or (node.op in ("Add", "AddV2") and self._takes(name, place)):
            return "bias"
        kind = _kind(node)
        if kind in ("multiplies", "convolves") and self._takes(name, place):
            return "depthwise_kernel" if node.op.startswith("Depthwise") else "kernel"
        return _ROLES.get(kind or "", {}).get(place)


def _kind(node: NodeDef) -> str | None:
    match = _COMPUTES.fullmatch(node.op)
    return match.lastgroup if match else None
