"""Fresh values: what a graph's own initialisers give its variables."""

from collections.abc import Mapping, Sequence
from typing import Any

from ckpttool.errors import GraphError
from ckpttool.graph.graph import Graph
from ckpttool.graph.rewrite import importable, subgraph
from ckpttool.graph.variables import variables
from ckpttool.runtime.tensorflow import tensorflow
from ckpttool.tensors import Array


def fresh_values(graph: Graph, names: Sequence[str], seed: int) -> dict[str, Array]:
    """Run the initialisers of the named variables and return what they give, by checkpoint name.

    Random initialisers that carry no seed of their own get one from `seed`.
    """
    described = variables(graph)
    wanted = {name: described[name].initial_value for name in names}
    missing = sorted(name for name, tensor in wanted.items() if tensor is None)
    if missing:
        raise GraphError(f"{graph.source}: {missing[0]} has no initialiser, so it cannot start fresh")
    return _run_initializers(graph, {name: tensor for name, tensor in wanted.items() if tensor}, seed) if wanted else {}


def _run_initializers(graph: Graph, wanted: Mapping[str, str], seed: int) -> dict[str, Array]:
    tf = tensorflow()
    tf1 = tf.compat.v1
    tensors = list(dict.fromkeys(wanted.values()))
    part = importable(subgraph(graph, tensors))
    with tf1.Graph().as_default(), tf1.Session() as session:
        definition = tf1.GraphDef.FromString(part.meta.graph_def.SerializeToString())
        seed_random_ops(definition, seed)
        found = session.run(tf.graph_util.import_graph_def(definition, return_elements=tensors, name=""))
    values = dict(zip(tensors, found, strict=True))
    return {name: values[tensor] for name, tensor in wanted.items()}


def seed_random_ops(definition: Any, seed: int) -> None:
    """Give each random op without a seed of its own one that follows from `seed` and its place, in place."""
    for place, node in enumerate(definition.node):
        if "seed" in node.attr and "seed2" in node.attr and not (node.attr["seed"].i or node.attr["seed2"].i):
            node.attr["seed"].i, node.attr["seed2"].i = seed, place + 1
