"""Makes random ops functions of a run's seed and step, so that the same step always draws the same numbers.

TensorFlow's random ops count their draws in the op, and checkpoints do not store the count: a resumed run would draw
other numbers than an uninterrupted one.
"""

from zlib import crc32

from ckpttool.formats.wire.protos.graph_pb2 import DT_INT64, NodeDef
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import ENTERS, RANDOM
from ckpttool.graph.rewrite.draft import Draft

STEP = "ckpttool_step"
"""The placeholder of the step's number, an int64 scalar, in a graph that `with_steps` returns."""

_GIVEN_STATE = ("Stateless", "Stateful", "Rng")
"""Random ops that receive their state as an input, and have no seed attribute."""
_STATELESS = {
    "RandomUniform": ("StatelessRandomUniform", {"dtype": "dtype", "T": "T"}, 1),
    "RandomStandardNormal": ("StatelessRandomNormal", {"dtype": "dtype", "T": "T"}, 1),
    "TruncatedNormal": ("StatelessTruncatedNormal", {"dtype": "dtype", "T": "T"}, 1),
    "RandomUniformInt": ("StatelessRandomUniformInt", {"Tout": "dtype", "T": "T"}, 1),
    "Multinomial": ("StatelessMultinomial", {"output_dtype": "output_dtype", "T": "T"}, 2),
}
"""For each random op: its stateless form, the attributes' names there, and the input index of the seed."""


def with_steps(graph: Graph, seed: int) -> Graph:
    """Return the graph with stateless random ops, whose numbers follow from `seed`, the op's name and `STEP:0`.

    Ops inside of functions and of TensorFlow 1 loops, and those without a stateless form, keep their count; they get
    a seed where they have none, since TensorFlow draws other numbers in each run where `seed` and `seed2` are 0. By
    its name an op draws the same numbers in any part of its graph.
    """
    draft = Draft(graph)
    for name, node in graph.nodes.items():
        if _needs_seed(node):
            _give_seed(draft.op(name), seed, name)
    for function in draft.header.graph_def.library.function:
        for node in filter(_needs_seed, function.node_def):
            _give_seed(node, seed, f"{function.signature.name}/{node.name}")
    looped = set(Flow.of(graph).regions) if any(node.op in ENTERS for node in graph.nodes.values()) else set()
    drawn = [name for name, node in graph.nodes.items() if node.op in _STATELESS and name not in looped]
    if drawn:
        draft.add(_placeholder())
    for name in drawn:
        draft.add(*_make_stateless(draft.op(name)))
    return draft.sealed()


def _needs_seed(node: NodeDef) -> bool:
    if node.op not in RANDOM or node.op.startswith(_GIVEN_STATE):
        return False
    return not any(key in node.attr and node.attr[key].i for key in ("seed", "seed2"))


def _give_seed(node: NodeDef, seed: int, name: str) -> None:
    node.attr["seed"].i = seed
    node.attr["seed2"].i = 1 + (crc32(name.encode()) >> 1)


def _placeholder() -> NodeDef:
    node = NodeDef(name=STEP, op="Placeholder")
    node.attr["dtype"].type = DT_INT64
    node.attr["shape"].shape.SetInParent()
    return node


def _make_stateless(node: NodeDef) -> tuple[NodeDef, NodeDef]:
    """Make a random op stateless, in place; return the ops of its seed, and of the pair of seed and step."""
    kind, renamed, place = _STATELESS[node.op]
    own = NodeDef(name=f"{node.name}/ckpttool_seed", op="Const")
    own.attr["dtype"].type = own.attr["value"].tensor.dtype = DT_INT64
    own.attr["value"].tensor.tensor_shape.SetInParent()
    own.attr["value"].tensor.int64_val.append(_number(node))
    both = NodeDef(name=f"{node.name}/ckpttool_seeds", op="Pack", input=[own.name, STEP])
    both.attr["T"].type, both.attr["N"].i, both.attr["axis"].i = DT_INT64, 2, 0
    node.op = kind
    node.input.insert(place, both.name)
    kept = {new: node.attr[old] for old, new in renamed.items() if old in node.attr}
    attributes = NodeDef(attr={**kept})
    attributes.attr["Tseed"].type = DT_INT64
    node.ClearField("attr")
    node.MergeFrom(attributes)
    return own, both


def _number(node: NodeDef) -> int:
    """Return one number in [0, 2 ** 63) that combines the two seeds of an op."""
    return (node.attr["seed"].i & 0x7FFFFFFF) << 32 | node.attr["seed2"].i & 0xFFFFFFFF
