"""What a graph is run for: the inputs and outputs that were said, those of a signature, else those that are found."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ckpttool.core.errors import GraphError, PlanError, UnknownName
from ckpttool.core.names import suggestion
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.signatures import DEFAULT, Argument, Signature, signature_named
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.draft import free_name
from ckpttool.graph.roles import placeholders
from ckpttool.graph.roles.results import result_of
from ckpttool.graph.roles.roles import certain_roles

Named = Mapping[str, str]


@dataclass(frozen=True)
class Served:
    """Tensors by the names under which callers give and get them, and why the outputs are these."""

    inputs: Named
    outputs: Named
    why: str

    @property
    def fed(self) -> set[str]:
        """The ops that are fed."""
        return {TensorRef.parse(tensor).op for tensor in self.inputs.values()}


def served(graph: Graph, inputs: Sequence[str] = (), outputs: Sequence[str] = (), signature: str = DEFAULT) -> Served:
    """Find what is given and what is asked for.

    Each of `inputs` and `outputs` is a tensor (`X:0`, an op for its first output), or one with the name that callers
    use (`images=X:0`). Where they are not said, those of the signature are meant (the default one, or the only one);
    without any the outputs are the logits, else what no other op reads, and the inputs the placeholders that they need.

    Raises:
        UnknownName: there is no such tensor; the message has the nearest names.
        PlanError: two have one name.
        GraphError: several tensors could be the outputs; the message lists them.
    """
    signed = signature_named(graph, signature)
    given, why = _outputs(graph, outputs, signed)
    if inputs:
        return Served(_said(graph, "inputs", inputs), given, why)
    if signed is not None and not outputs:
        return Served(_tensors(graph, signed.inputs), given, why)
    return Served(_named(_placeholders(graph, given.values())), given, why)


def _outputs(graph: Graph, said: Sequence[str], signed: Signature | None) -> tuple[Named, str]:
    if said:
        return _said(graph, "outputs", said), "as said"
    if signed is not None:
        return _tensors(graph, signed.outputs), f"of the signature {signed.name}"
    logits = certain_roles(graph).logits
    if logits is not None:
        return {"logits": logits}, "the logits"
    result = result_of(graph, "outputs")
    return _named([result.tensor]), result.why


def _tensors(graph: Graph, arguments: Mapping[str, Argument]) -> Named:
    for key, argument in arguments.items():
        if len(argument.tensors) > 1:
            raise GraphError(f"{graph.source}: {key} of the signature is sparse; specify `inputs` and `outputs`")
    return {key: argument.tensors[0] for key, argument in arguments.items()}


def _placeholders(graph: Graph, tensors: Iterable[str]) -> list[str]:
    """Return the placeholders that tensors need, without switches and scalar settings, in graph order."""
    needed = {name for tensor in tensors for name in placeholders.placeholders_of(graph, tensor)}
    return placeholders.inputs(graph, [name for name in graph.nodes if name in needed], None)


def _said(graph: Graph, parameter: str, texts: Sequence[str]) -> Named:
    """Read `name=tensor` or `tensor`."""
    found: list[tuple[str, str]] = []
    for text in texts:
        key, _, tensor = text.rpartition("=")
        ref = TensorRef.parse(tensor)
        if ref.op not in graph.nodes:
            raise UnknownName(f"{graph.source}: `{parameter}` {text}: no such tensor{suggestion(ref.op, graph.nodes)}")
        dtype_of_output(graph, ref)
        found.append((key, str(ref)))
    keys = [key for key, _ in found if key]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise PlanError(f"`{parameter}`: two tensors are named {twice}")
    return {key: tensor for key, tensor in found if key} | _named([ref for key, ref in found if not key], keys)


def _named(tensors: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Name tensors after the last part of their ops' names and the output, numbered where two would share one.

    >>> dict(_named(["dnn/outputs/BiasAdd:0", "aux/BiasAdd:0"]))
    {'BiasAdd': 'dnn/outputs/BiasAdd:0', 'BiasAdd_1': 'aux/BiasAdd:0'}
    """
    found, used = dict[str, str](), set(taken)
    for tensor in tensors:
        ref = TensorRef.parse(tensor)
        base = re.sub(r"\W", "_", placeholders.last_part(ref.op)) + (f"_{ref.index}" if ref.index else "")
        name = free_name(base, used)
        used.add(name)
        found[name] = tensor
    return found
