"""Inputs and outputs of a graph: those that are specified, else those of a signature, else determined by structure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import GraphError, PlanError
from ckpttool.core.names import listed
from ckpttool.graph.contents.named import tensor_named
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.signatures import (
    DEFAULT,
    Argument,
    Signature,
    choosing_signature,
    input_keys,
    signature_named,
    signature_names,
)
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.draft import free_name
from ckpttool.graph.roles import placeholders
from ckpttool.graph.roles.comparisons import beside_rows
from ckpttool.graph.roles.ends import ends
from ckpttool.graph.roles.logits import logits_below
from ckpttool.graph.roles.resolve import certain_roles, compared_logits, has_towers

Named = Mapping[str, str]

SIGNATURE = "signature"
"""The key of a signature's name among specified roles."""

_KEYS = ("probabilities", "logits", "scores", "predictions", "outputs", "output")
"""Names of a signature's main output, if it has several."""


@dataclass(frozen=True)
class Served:
    """Input and output tensors by the names that callers use, and why these are the outputs."""

    inputs: Named
    outputs: Named
    why: str

    @property
    def fed(self) -> set[str]:
        """The ops that are fed."""
        return {TensorRef.parse(tensor).op for tensor in self.inputs.values()}


def served(graph: Graph, inputs: Sequence[str] = (), outputs: Sequence[str] = (), signature: str = DEFAULT) -> Served:
    """Return the inputs and outputs of a graph.

    Each of `inputs` and `outputs` is a tensor (`X:0`, an op for its first output), or a tensor with a name for callers
    (`images=X:0`). The defaults are those of the signature (`signature`, else the only one). Without a signature, the
    outputs are the logits, else tensors that no op reads, and the inputs are the placeholders on which they depend.

    Raises:
        UnknownName: a tensor does not exist; the message has the nearest names.
        PlanError: two tensors have the same name.
        GraphError: several tensors could be the outputs; the message lists them.
    """
    signed = signature_named(graph, signature)
    result, why = _outputs(graph, outputs, signed)
    if inputs:
        return Served(_parsed(graph, "inputs", inputs), result, why)
    if signed is not None and not outputs:
        return Served(_tensors(graph, signed.inputs), result, why)
    needed = {name for tensor in result.values() for name in placeholders.placeholders_of(graph, tensor)}
    fed = placeholders.inputs(graph, [name for name in graph.nodes if name in needed], None)
    keys = {key: tensor for tensor in reversed(fed) for key in input_keys(graph, tensor)[:1]}
    others = [tensor for tensor in fed if tensor not in keys.values()]
    return Served(dict(reversed(keys.items())) | _named(others, keys), result, why)


def _outputs(graph: Graph, given: Sequence[str], signed: Signature | None) -> tuple[Named, str]:
    """Return the outputs by name, and the reason for the choice."""
    if given:
        return _parsed(graph, "outputs", given), "as specified"
    if signed is not None:
        return _tensors(graph, signed.outputs), f"of the signature {signed.name}"
    logits = compared_logits(graph)
    if len(logits) == 1:
        return {"logits": logits[0]}, "the logits of the first tower" if has_towers(graph) else "the logits"
    if logits:
        return _named(logits), "the input of the loss beside the labels"
    result = result_of(graph, "outputs")
    names = listed(signature_names(graph))
    others = f"; the signatures {names} may have others: `signature` selects one" if names else ""
    return _named([result.tensor]), f"{result.why}{others}"


def _tensors(graph: Graph, arguments: Mapping[str, Argument]) -> Named:
    """Return a signature's input or output tensors by name.

    Raises:
        GraphError: one is sparse, so that it consists of three tensors.
    """
    for key, argument in arguments.items():
        if len(argument.tensors) > 1:
            raise GraphError(f"{graph.source}: {key} of the signature is sparse; specify `inputs` and `outputs`")
    return {key: argument.tensors[0] for key, argument in arguments.items()}


def _parsed(graph: Graph, parameter: str, texts: Sequence[str]) -> Named:
    """Parse specifications `name=tensor` or `tensor`, and check that the tensors exist."""
    pairs: list[tuple[str, str]] = []
    signature = signature_named(graph)
    sides = (signature.inputs, signature.outputs) if signature else ()
    signed = {key: argument.tensors[0] for side in sides for key, argument in side.items()}
    for text in texts:
        key, _, tensor = text.rpartition("=")
        ref = tensor_named(graph, tensor, f"`{parameter}` {text}")
        dtype_of_output(graph, ref)
        pairs.append(
            (key or (tensor if tensor not in graph.nodes and str(ref) == signed.get(tensor) else ""), str(ref))
        )
    keys = [key for key, _ in pairs if key]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise PlanError(f"`{parameter}`: two tensors are named {twice}")
    return {key: tensor for key, tensor in pairs if key} | _named([ref for key, ref in pairs if not key], keys)


def _named(tensors: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Return names for tensors: the last part of the op's name and the output index, numbered to be unique.

    >>> dict(_named(["dnn/outputs/BiasAdd:0", "aux/BiasAdd:0"]))
    {'BiasAdd': 'dnn/outputs/BiasAdd:0', 'BiasAdd_1': 'aux/BiasAdd:0'}
    """
    named, used = dict[str, str](), set(taken)
    for tensor in tensors:
        ref = TensorRef.parse(tensor)
        base = re.sub(r"\W", "_", placeholders.last_part(ref.op)) + (f"_{ref.index}" if ref.index else "")
        name = free_name(base, used)
        used.add(name)
        named[name] = tensor
    return named


@dataclass(frozen=True)
class Result:
    """A tensor, the reason for choosing it (printed after its name), and its inputs if a signature specifies them."""

    tensor: str
    why: str
    inputs: tuple[str, ...] = ()


def result_of(graph: Graph, parameter: str = "tensor") -> Result:
    """Return the output of the signature, else the logits, else the only unread tensor that depends on inputs.

    `parameter` is the name of the parameter that selects another, for messages.

    Raises:
        GraphError: there is no such tensor, or there are several; the message lists them.
    """
    signature = signature_named(graph)
    outputs = signature.outputs.items() if signature else ()
    numbers = {key: out.tensors[0] for key, out in outputs if len(out.tensors) == 1 and out.dtype is not STRING}
    if signature and numbers:
        key = _chosen(graph, numbers, parameter)
        below = graph.ancestors(TensorRef.parse(numbers[key]).op)
        arguments = (tensor for argument in signature.inputs.values() for tensor in argument.tensors)
        needed = tuple(tensor for tensor in arguments if TensorRef.parse(tensor).op in below)
        return Result(numbers[key], f"the output {key} of the signature {signature.name}", needed)
    found = compared_logits(graph) or _ends(graph, parameter)
    return Result(_chosen(graph, {name: name for name in found}, parameter), "which no other op reads")


def output_names(graph: Graph) -> dict[str, set[str]]:
    """Return the outputs of the signature that is called, by name: the tensor, and the logits below its activation."""
    signature = signature_named(graph)
    outputs = signature.outputs.items() if signature else ()
    dense = {key: out.tensors[0] for key, out in outputs if len(out.tensors) == 1}
    return {key: {tensor, logits_below(graph, tensor).tensor} for key, tensor in dense.items()}


def called(graph: Graph, given: Mapping[str, Any]) -> tuple[Graph, dict[str, Any]]:
    """Return the graph with the signature in `given` chosen, and the other given roles with those of the signature.

    The signature determines the inputs and the logits, unless they are given or the graph has a loss.

    Raises:
        UnknownName: the graph has no such signature.
        GraphError: the signature has several outputs, and none has the name of a main output.
    """
    own = {role: value for role, value in given.items() if role != SIGNATURE}
    if not given.get(SIGNATURE):
        return graph, own
    graph = choosing_signature(graph, given[SIGNATURE])
    if certain_roles(graph).loss or "logits" in own:
        return graph, own
    result = result_of(graph, "logits")
    return graph, {"logits": result.tensor, **({"inputs": result.inputs} if result.inputs else {}), **own}


def _chosen(graph: Graph, tensors: Mapping[str, str], parameter: str) -> str:
    """Return the key of the only tensor, else the key that is the name of a main output.

    Raises:
        GraphError: there is no tensor, or there are several without such a name.
    """
    if len(set(tensors.values())) == 1:
        return next(iter(tensors))
    if key := next((key for key in _KEYS if key in tensors), None):
        return key
    found = listed([key if key == each else f"{key} ({each})" for key, each in tensors.items()], most=6)
    problem = f"several tensors match: {found}" if tensors else "no tensor needs to be fed"
    named = [] if signature_named(graph) else signature_names(graph)
    other = f", or `signature` as one of {listed(named)}" if named else ""
    raise GraphError(f"{graph.source}: {problem}; specify `{parameter}`{other}")


def _ends(graph: Graph, parameter: str) -> list[str]:
    """Return the possible outputs of a graph without a signature and logits.

    Raises:
        GraphError: all of them are its loss, or lead to it or depend on it.
    """
    roles = certain_roles(graph)
    beside = {TensorRef.parse(name).op for name in (roles.loss, roles.accuracy, roles.labels) if name}
    found = ends(graph, beside)
    if roles.loss and roles.labels is None:  # then an op on the way to the loss may be part of the loss
        loss = TensorRef.parse(roles.loss).op
        if not set(found) - graph.ancestors(loss) - graph.descendants([loss]):
            near = listed([str(ref) for ref in beside_rows(graph, loss)], most=4)
            problem = f"it is unknown which outputs the loss {roles.loss} compares with labels"
            raise GraphError(f"{graph.source}: {problem}{f': {near}' if near else ''}; specify `{parameter}`")
    return [f"{name}:0" for name in found]
