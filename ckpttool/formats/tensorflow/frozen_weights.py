"""Frozen graphs: which constants were variables, and what those were named.

Freezing puts a Const in a variable's place: under its name in TensorFlow 1, in TensorFlow 2 under that of the op that
read it (`fc/MatMul/ReadVariableOp/resource`). Its read stays, an Identity. What makes graphs smaller afterwards takes
the reads away, and a constant goes straight into the op that computes with it. Constants of shapes, axes and numbers
that were always there are none of these.
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
"""How the name of a constant ends that is named after what read the variable, or after several that became one."""
_PASSES = frozenset(
    {"Identity", "Enter", "Switch", "Cast", "StopGradient", "Reshape", "Transpose", "ExpandDims", "Squeeze"}
)
_COMPUTES = re.compile(
    r"(?P<multiplies>(Batch)?MatMul(V2|V3)?|Einsum)|(?P<convolves>(DepthwiseC|C)onv\w*|BiasAdd(V1)?)|(?P<looks_up>Gather(V2)?)"
    r"|(?P<normalises>FusedBatchNorm\w*)|(?P<loops>(Stateless)?While)"
    r"|(?P<recurs>BlockLSTM\w*|LSTMBlockCell|GRUBlockCell|CudnnRNN\w*)"
)
"""What computes with weights, and which of its inputs these are: any, those behind the first, the first."""
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
"""What the normalisation of a row is made of besides, and what picks the results of a loop."""
_FACTORS = frozenset({"Rsqrt", "Sqrt", "Neg", "Reciprocal", "Concat", "ConcatV2"})
_PRODUCTS = ("multiplies", "convolves", "normalises", "looks_up", "loops", "recurs")
"""The kinds of ops behind which a layer's other weights are added or multiplied."""
_ALWAYS_CONSTANT = re.compile(r"(.*/)?Const(_\d+)?")
_ROLES = {"normalises": {1: "gamma", 2: "beta", 3: "moving_mean", 4: "moving_variance"}, "looks_up": {0: "embeddings"}}
_BATCH_NORM = {"add": "moving_variance", "mul": "gamma", "mul_2": "moving_mean", "Neg": "moving_mean", "sub": "beta"}
"""The ops of `tf.nn.batch_normalization`, and which of its arguments each takes."""
_FUNCTIONS = re.compile(r"/(batchnorm|separable_conv2d|Tensordot|convolution|embedding_lookup)$")
"""Scopes that TensorFlow's own functions open within a layer's."""


def frozen_weights(nodes: Mapping[str, NodeDef], functions: Iterable[FunctionDef] = ()) -> dict[str, str]:
    """Return the names of a frozen graph's variables, each with its constant; none of a graph that still has variables.

    A constant counts that is read as variables are; else one of floats that is not a scalar and goes into a product, a
    convolution, a normalisation, a look-up, or what is added to one of these or multiplied with it; or into a loop that
    never changes it, as the bodies of loops among the `functions` say.
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
    """What reads a graph's constants."""

    def __init__(self, nodes: Mapping[str, NodeDef], functions: Iterable[FunctionDef]) -> None:
        self._nodes = nodes
        self._functions = {function.signature.name: function for function in functions}
        self._readers: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for name, node in nodes.items():
            for place, text in enumerate(node.input):
                self._readers[text.partition(":")[0]].append((name, place))  # `^op` is another key: it reads nothing
        products = [name for name, node in nodes.items() if _kind(node) in _PRODUCTS]
        self._products = self._behind(products)
        self._fixed = self._of_constants()

    def is_read(self, constant: str) -> bool:
        """Say whether a constant is read as variables are."""
        readers = self._readers[constant]
        return any(self._nodes[name].op == "Identity" and _READ.fullmatch(name) for name, _ in readers)

    def is_computed_with(self, constant: str) -> bool:
        """Say whether a constant of floats goes into an op as a layer's weights do."""
        tensor = self._nodes[constant].attr["value"].tensor if "value" in self._nodes[constant].attr else None
        dtype = BY_NUMBER.get(tensor.dtype) if tensor is not None else None
        if tensor is None or dtype is None or "float" not in dtype.name:
            return False
        shape = shape_of(tensor)
        return bool(shape) and math.prod(shape) > 0 and any(self._takes(*use) for use in self._uses(constant))

    def names(self, constant: str) -> Iterator[str]:
        """Yield what the variable of a constant may have been named and no op is, the best first."""
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
        """Yield the ops that compute with a constant, and the place of the input.

        They come after what passes it on, and after those that compute with constants alone.
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
        """Say whether an op takes weights at a place of its inputs."""
        node, kind = self._nodes[name], _kind(self._nodes[name])
        if node.op in _ELEMENTWISE and place < 2 <= len(node.input):
            return node.input[1 - place].partition(":")[0] in self._products
        if kind == "looks_up":
            return place == 0
        if kind == "loops":
            return self._is_kept(node, place)
        return kind == "multiplies" or (kind is not None and place > 0)

    def _is_kept(self, loop: NodeDef, place: int) -> bool:
        """Say whether a loop hands on what it takes at a place of its inputs unchanged from turn to turn."""
        body = self._functions.get(loop.attr["body"].func.name) if "body" in loop.attr else None
        if body is None or place >= min(len(body.signature.input_arg), len(body.signature.output_arg)):
            return False
        taken = body.signature.input_arg[place].name
        given = body.ret.get(body.signature.output_arg[place].name, "")
        passes = {node.name: node.input[0] for node in body.node_def if node.op == "Identity" and node.input}
        return taken in (given, passes.get(given.partition(":")[0]))

    def _behind(self, starts: list[str]) -> set[str]:
        """Return ops and those that only pass on, activate, add to or multiply what they give."""
        reached, todo = set(starts), list(starts)
        while todo:
            for name, _ in self._readers[todo.pop()]:
                if name not in reached and self._nodes[name].op in _ELEMENTWISE | _PASSES | _ACTIVATIONS | _STATISTICS:
                    reached.add(name)
                    todo.append(name)
        return reached

    def _of_constants(self) -> set[str]:
        """Return constants, and what is made of these alone: factors of a normalisation, the whole of several parts."""
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
        """Return what a layer calls the weight that an op takes at a place of its inputs, where that can be told."""
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
