"""Epsilons of batch normalisations, which often differ between a source and a graph without showing in the tensors.

In a graph, the epsilon is an attribute of a fused op, or the constant that is added to the variance. In an ONNX model,
it is an attribute of the node. PyTorch does not save it, so its default is assumed if the tensors have PyTorch's names.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ckpttool.foreign.evidence import Evidence
from ckpttool.foreign.names import layer_by_role, part_of, part_word
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef
from ckpttool.graph.contents.constants import single_number
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.graph.core import Graph
from ckpttool.layouts.norm import BatchNorm

TORCH_EPSILON = 1e-5
"""The default of torch.nn.BatchNorm1d to 3d."""
FUSED_EPSILON = 1e-4
"""The default of a FusedBatchNorm without the attribute."""
FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
ADDS = frozenset({"Add", "AddV2"})
_ROOTS = frozenset({"Rsqrt", "Sqrt", "Pow"})
_CALLS = frozenset({"If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall"})
_ALONG = _CALLS | {"Identity", "ReadVariableOp", "Cast", "Reshape", "Switch", "RefSwitch", "Merge", "Squeeze"}
"""Ops between a variable and the op that normalises."""


class EpsilonGap(NamedTuple):
    """A batch normalisation (by its variables' names) whose epsilon differs between the graph and the source."""

    gamma: str | None
    variance: str
    layout: BatchNorm

    @property
    def targets(self) -> tuple[str, ...]:
        """The variables that are changed to compensate: gamma (always possible) with the variance, or only that."""
        return (self.gamma, self.variance) if self.gamma else (self.variance,)


def gaps(
    graph: Graph, targets: Mapping[str, StoredTensor], sources: Mapping[str, str], evidence: Evidence
) -> Iterator[EpsilonGap]:
    """Yield the batch normalisations whose epsilons are known and differ.

    `sources` maps variables to the source's tensors that are imported without conversion.
    """
    layers: dict[str, dict[str | None, str]] = {}
    for name in sources:
        layers.setdefault(layer_by_role(name), {}).setdefault(part_of(name), name)
    for parts in layers.values():
        if variance := parts.get("variance"):
            known = (epsilon_of(graph, targets[name]) for name in (variance, *parts.values()))
            target = next((epsilon for epsilon in known if epsilon is not None), None)
            source = source_epsilon(sources[variance], evidence)
            if target is not None and source is not None and abs(target - source) > 1e-6 * max(target, source):
                yield EpsilonGap(parts.get("weight"), variance, BatchNorm(rounded(source), rounded(target)))


def source_epsilon(name: str, evidence: Evidence) -> float | None:
    """Return the epsilon of the normalisation with this variance in the source, or None if it is unknown."""
    said = evidence.arrangement(name).epsilon
    if said is not None:
        return said
    is_torch = evidence.framework in ("torch", None) and part_word(name) == "running_var"
    return TORCH_EPSILON if is_torch else None


def epsilon_of(graph: Graph, target: StoredTensor) -> float | None:
    """Return the epsilon of the batch normalisation that reads a variable, or None."""
    todo = [member.op for member in target.members]
    for op in todo:
        for name in graph.consumers.get(op, []):
            node = graph.nodes[name]
            if node.op in FUSED:
                return node.attr["epsilon"].f if "epsilon" in node.attr else FUSED_EPSILON
            if node.op in ADDS and (added := added_below_a_root(graph, name)) is not None:
                return added
            if node.op in _CALLS and (inside := _inside(graph, name)) is not None:
                return inside
            if node.op in _ALONG and name not in todo:
                todo.append(name)
    return None


def added_below_a_root(graph: Graph, name: str) -> float | None:
    """Return the constant of an addition below a square root, or None."""
    if not any(graph.nodes[reader].op in _ROOTS for reader in graph.consumers.get(name, [])):
        return None
    numbers = (single_number(graph.nodes[ref.op]) for ref in graph.inputs(name) if ref.op in graph.nodes)
    return next((number for number in numbers if number is not None), None)


def _inside(graph: Graph, name: str) -> float | None:
    """Return the epsilon of the fused ops in the functions that an op calls (a layer's branches), or None."""
    called = {value.func.name for value in graph.nodes[name].attr.values() if value.HasField("func")}
    functions: list[FunctionDef] = [
        each for each in graph.header.graph_def.library.function if each.signature.name in called
    ]
    found = {node.attr["epsilon"].f for each in functions for node in each.node_def if node.op in FUSED}
    return found.pop() if len(found) == 1 else None


def rounded(epsilon: float) -> float:
    """Return an epsilon rounded to six digits, because attributes are float32.

    >>> rounded(0.0010000000474974513)
    0.001
    """
    return float(f"{epsilon:.6g}")
