"""Training ops: the ops that a training step runs, and the layers that each of them trains."""

from collections.abc import Collection, Sequence

from ckpttool.core.names import layer_of, listed
from ckpttool.graph.contents.dependence import is_gradient
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.contents.weight_updates import trained_by, weight_updates
from ckpttool.graph.core import Graph, TensorRef, cached


@cached
def updaters(graph: Graph) -> Sequence[str]:
    """Return the ops that wait for updates of weights; `Adam` is returned instead of `Adam/update`."""
    updates = weight_updates(graph)
    # The identity of a conditional's output waits for the updates in the conditional.
    updates |= {name for op in updates for name in graph.consumers.get(op, ()) if graph.nodes[name].op == "Identity"}
    waiting = [name for name in graph.nodes if _only_waits(graph, name) and not updates.isdisjoint(_waits(graph, name))]
    # With a global step, `Adam` increments it, and waits for `Adam/update` directly, or by the constant that it adds.
    counting = {name: name.removesuffix("/update") for name in waiting if name.endswith("/update")}
    outer = [counting[name] if counting.get(name) in graph.nodes else name for name in waiting]
    # An embedding has several updates, with a group of their own: `Adam/update_words/embedding/group_deps`.
    scopes = {f"{name}/" for name in outer}
    outer = [name for name in outer if not _scopes(name) & scopes]
    # Ops that limit the norms of weights change them, too, but do not train.
    return [name for name in outer if any(map(is_gradient, graph.ancestors(name, control=True)))] or outer


def training_ops(graph: Graph, differentiated: Collection[str] | None = None) -> list[str]:
    """Return the training ops in the collection `train_op`, else those that wait for updates.

    If there are several, only their group is returned, or those in `differentiated`: the training ops whose gradients
    start at the specified loss. A group is an op that waits for exactly these ops: a `tf.group` of two optimizers.
    """
    collected = dict.fromkeys(TensorRef.parse(name).op for name in graph.collection("train_op"))
    ops = [name for name in collected if name in graph.nodes] or list(updaters(graph))
    if len(ops) < 2:
        return ops
    if differentiated is not None:
        return [name for name in ops if name in differentiated] or ops
    return [name for name in graph.nodes if _only_waits(graph, name) and _waits(graph, name) == set(ops)][:1] or ops


def trained_layers(graph: Graph, training_op: str) -> list[str]:
    """Return the layers whose weights an op trains, in graph order."""
    run = graph.ancestors(training_op, control=True) & weight_updates(graph)
    written = {op for name in run for op in trained_by(graph)[name]}
    return list(dict.fromkeys(layer_of(each.name) for each in variables(graph).values() if each.op in written))


def with_layers(graph: Graph, ops: Sequence[str]) -> str:
    """Return a list of training ops for messages, with the layers that each trains."""
    return ", ".join(f"{name} (trains {listed(trained_layers(graph, name), most=4)})" for name in ops)


def _scopes(name: str) -> set[str]:
    """Return the scopes that contain an op, each with a slash at the end."""
    return {name[: place + 1] for place, letter in enumerate(name) if letter == "/"}


def _waits(graph: Graph, name: str) -> set[str]:
    """Return the ops of an op's control inputs."""
    return {text[1:] for text in graph.nodes[name].input if text.startswith("^")}


def _only_waits(graph: Graph, name: str) -> bool:
    """Return whether an op is a NoOp, which exists only to be run."""
    return graph.nodes[name].op == "NoOp"
