"""Results: the tensor that a graph is run for, where no loss says which its logits are."""

from collections.abc import Mapping
from dataclasses import dataclass

from ckpttool.core.errors import GraphError
from ckpttool.core.tensors import STRING
from ckpttool.graph.contents.signatures import Signature, signature_named
from ckpttool.graph.contents.stored import savers
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import NO_RESULT, PLACEHOLDERS

_KEYS = ("probabilities", "logits", "scores", "predictions", "outputs", "output")
"""Names under which a signature may give what is asked for, beside other things."""


@dataclass(frozen=True)
class Result:
    """A tensor, why it is that one, said after its name, and where a signature says it what is fed for it."""

    tensor: str
    why: str
    inputs: tuple[str, ...] = ()


def result_of(graph: Graph, parameter: str = "tensor") -> Result:
    """Return what a signature gives, else the only tensor that depends on what is fed and that nothing reads.

    `parameter` is the one that specifies another.

    Raises:
        GraphError: there is none, or there are several; the message lists them.
    """
    signature = signature_named(graph)
    given = _given(signature) if signature else {}
    if signature and given:
        key = _chosen(graph, given, parameter)
        inputs = _needed(graph, signature, given[key])
        return Result(given[key], f"the output {key} of the signature {signature.name}", inputs)
    ends = {f"{name}:0": f"{name}:0" for name in _ends(graph)}
    return Result(_chosen(graph, ends, parameter), "which no other op reads")


def _chosen(graph: Graph, tensors: Mapping[str, str], parameter: str) -> str:
    """Return the only key of some tensors, or the one that is named for what is asked for."""
    if len(set(tensors.values())) == 1:
        return next(iter(tensors))
    if key := next((key for key in _KEYS if key in tensors), None):
        return key
    found = f"several tensors could be meant: {', '.join(tensors.values())}" if tensors else "no tensor needs to be fed"
    raise GraphError(f"{graph.source}: {found}; specify `{parameter}`")


def _needed(graph: Graph, signature: Signature, tensor: str) -> tuple[str, ...]:
    """Return the inputs of a signature that a tensor depends on."""
    below = graph.ancestors(TensorRef.parse(tensor).op)
    named = [each for argument in signature.inputs.values() for each in argument.tensors]
    return tuple(name for name in named if TensorRef.parse(name).op in below)


def _given(signature: Signature) -> dict[str, str]:
    """Return the tensors of numbers that a signature gives, by its own names for them."""
    outputs = signature.outputs.items()
    return {key: each.tensors[0] for key, each in outputs if len(each.tensors) == 1 and each.dtype is not STRING}


def _ends(graph: Graph) -> list[str]:
    """Return the ops that need what is fed (a saver's file aside) and that no op reads."""
    ends = [name for name, node in graph.nodes.items() if node.op not in NO_RESULT and name not in graph.consumers]
    ends = [name for name in ends if not graph.nodes[name].op.endswith("Summary")]
    places = (TensorRef.parse(saver.filename_tensor_name).op for saver in savers(graph))
    files = graph.ancestors(*(op for op in places if op in graph.nodes))
    fed = {name for name, node in graph.nodes.items() if node.op in PLACEHOLDERS and name not in files}
    needing = graph.descendants(fed)
    return [name for name in ends if any(ref.op in needing for ref in graph.inputs(name))]
