"""TensorFlow 1's loops (Enter, Exit), and its conditionals on variables' handles, inside of a `tf.function`.

A `tf.function` adds control inputs of its own: it makes ops with effects run one after the other, in the order in which
they came. To an op inside of a TensorFlow 1 loop a control input from outside of it is an error, and an array or stack
that a loop fills may well come after what reads the loop's outcome. TensorFlow knows this and leaves out ops that have
a loop's context; but contexts are lost where a graph is imported, and those of gradients were never saved. Where a
handle goes into a conditional (Switch) it would ask for the lost context, too.
"""

from collections.abc import Collection, Sequence
from typing import Any

from ckpttool.formats.wire.protos.graph_pb2 import DT_RESOURCE, NodeDef
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ENTERS, SWITCHES


def unordered_ops(part: Graph, handles: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return the ops of a part that are to run in the part's own order; none without such loops and conditionals.

    These are all but the reads and updates of variables (whose ops are `handles`) outside of loops and conditionals,
    and the ops of the `wanted` tensors: what has a loop's context may not be read from outside.
    """
    if not any(node.op in ENTERS or _switches_handle(node) for node in part.nodes.values()):
        return []
    regions = Flow(part).regions
    readers = {name for handle in handles for name in part.consumers[handle] if name not in regions}
    ordered = {*readers, *handles, *(TensorRef.parse(name).op for name in wanted)}
    return [name for name in part.nodes if name not in ordered]


def _switches_handle(node: NodeDef) -> bool:
    return node.op in SWITCHES and node.attr["T"].type == DT_RESOURCE


def leave_unordered(ops: Sequence[Any]) -> None:
    """Keep a `tf.function` from giving ops (of the graph that is being built) control inputs."""
    if ops:
        from tensorflow.python.ops.control_flow_ops import WhileContext

        context = WhileContext()
        for op in ops:
            op._set_control_flow_context(context)
