"""TensorFlow 1's loops (Enter, Exit) inside of a `tf.function`.

A `tf.function` adds control inputs of its own: it makes ops with effects run one after the other, in the order in which
they came. To an op inside of a TensorFlow 1 loop a control input from outside of it is an error, and an array or stack
that a loop fills may well come after what reads the loop's outcome. TensorFlow knows this and leaves out ops that have
a loop's context; but contexts are lost where a graph is imported, and those of gradients were never saved.
"""

from collections.abc import Collection, Sequence
from typing import Any

from ckpttool.graph.flow import ENTERS, Flow
from ckpttool.graph.graph import Graph, TensorRef


def unordered_ops(part: Graph, handles: Collection[str], wanted: Collection[str]) -> list[str]:
    """Return the ops of a part that are to run in the part's own order; none in a part without TensorFlow 1 loops.

    These are all but the reads and updates of variables (whose ops are `handles`) outside of loops and conditionals,
    and the ops of the `wanted` tensors: what has a loop's context may not be read from outside.
    """
    if not any(node.op in ENTERS for node in part.nodes.values()):
        return []
    regions = Flow(part).regions
    readers = {name for handle in handles for name in part.consumers[handle] if name not in regions}
    ordered = {*readers, *handles, *(TensorRef.parse(name).op for name in wanted)}
    return [name for name in part.nodes if name not in ordered]


def leave_unordered(ops: Sequence[Any]) -> None:
    """Keep a `tf.function` from giving ops (of the graph that is being built) control inputs."""
    if ops:
        from tensorflow.python.ops.control_flow_ops import WhileContext

        context = WhileContext()
        for op in ops:
            op._set_control_flow_context(context)
