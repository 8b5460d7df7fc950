"""The ops that read a resource variable, as ops that read a tensor."""

from collections.abc import Collection, Iterator

import numpy as np

from ckpttool.core.tensors import BY_NAME
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.rewrite.editing import free_name, type_attr

_READS = {
    "ReadVariableOp": ("Identity", {"dtype": "T"}),
    "VariableShape": ("Shape", {"out_type": "out_type"}),
    "ResourceGather": ("GatherV2", {"dtype": "Tparams", "Tindices": "Tindices", "batch_dims": "batch_dims"}),
    "ResourceGatherNd": ("GatherNd", {"dtype": "Tparams", "Tindices": "Tindices"}),
}
"""What does the same to a tensor, and how the attributes are called there."""
READS = frozenset({*_READS, "VarIsInitializedOp"})


def tensor_read(node: NodeDef, number: int, taken: Collection[str]) -> Iterator[NodeDef]:
    """Yield what stands in for an op that reads a variable of a dtype's number, and the axis where it needs one."""
    node.ClearField("experimental_type")
    if node.op == "VarIsInitializedOp":
        yield constant(node.name, np.array(True), BY_NAME["bool"])
        return
    attributes = dict(node.attr.items())
    node.op, kept = _READS[node.op]
    node.ClearField("attr")
    for old, new in kept.items():
        if old in attributes:
            node.attr[new].CopyFrom(attributes[old])
    if node.op == "Shape":
        node.attr["T"].CopyFrom(type_attr(number))
    if node.op == "GatherV2":
        batched = attributes["batch_dims"].i if "batch_dims" in attributes else 0
        axis = constant(free_name(f"{node.name}/axis", taken), np.array(batched, np.int32), _INT32)
        yield axis
        node.attr["Taxis"].CopyFrom(type_attr(_INT32.number))
        node.input.insert(2, axis.name)
    yield node


_INT32 = BY_NAME["int32"]
