"""Finding tensors by names that users write: `X:0`, the op `X`, a scope, a name in the signature."""

from ckpttool.core.errors import UnknownName
from ckpttool.core.names import listed, scopes_above
from ckpttool.core.suggestions import near_names
from ckpttool.graph.contents.signatures import signature_named
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import ASIDE, NO_RESULT


def tensor_named(graph: Graph, text: str, asked: str = "") -> TensorRef:
    """Return the tensor with a name; `asked` is the user's text, for messages.

    An op's name means its first output. A scope means the only op in it whose output no other op in it reads, because
    TensorFlow puts the op of `table.lookup(ids, name="class_name")` into a scope of that name. Otherwise, the name may
    be that of an output or input of the signature.

    Raises:
        UnknownName: there is no such op, or a scope has several results; the message has the nearest names.
    """
    ref = TensorRef.parse(text)
    if ref.op in graph.nodes:
        return ref
    results = scope_results(graph, ref.op.rstrip("/"))
    if len(results) == 1:
        return TensorRef(results[0], ref.index)
    keys = _signature_keys(graph)
    if key := next((each for each in (text, ref.op) if each in keys and not ref.index), None):
        return TensorRef.parse(keys[key])
    near = results or [*near_names(text, keys, 2), *_nearest(graph, ref.op)]
    nearest = f"; nearest: {listed(near, most=4)}" if near else ""
    raise UnknownName(f"{graph.source}: {asked or text}: no such op or tensor{nearest}")


def _signature_keys(graph: Graph) -> dict[str, str]:
    """Return the tensors of the called signature by their names in it; inputs override outputs of the same name."""
    signature = signature_named(graph)
    sides = (signature.inputs, signature.outputs) if signature else ()
    return {key: each.tensors[0] for side in sides for key, each in side.items() if len(each.tensors) == 1}


def _nearest(graph: Graph, name: str) -> list[str]:
    """Return the ops with the nearest names; for a scope, its first result."""
    names = dict.fromkeys(scope for op in graph.nodes for scope in scopes_above(op))
    near = near_names(name, names, 4)
    meant = [op for each in near for op in ([each] if each in graph.nodes else scope_results(graph, each)[:1])]
    return list(dict.fromkeys(meant))


def scope_results(graph: Graph, scope: str) -> list[str]:
    """Return the ops below a scope whose outputs no other op below it reads."""
    inside = [name for name in graph.nodes if name.startswith(f"{scope}/")]
    known = set(inside)
    computing = [name for name in inside if graph.nodes[name].op not in ASIDE and graph.nodes[name].op not in NO_RESULT]
    return [name for name in computing if known.isdisjoint(graph.consumers.get(name, ()))]
