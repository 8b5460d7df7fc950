"""Building on complete TensorFlow 1 graphs: a graph is imported, extended, and exported as data."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.gate import require_inert
from ckpttool.graph.rewrite.savers import rename_saved
from ckpttool.graph.roles.resolve import ROLE_KEYS
from ckpttool.runtime.building import version_1
from ckpttool.runtime.configure import running, tensorflow
from ckpttool.runtime.registered import require_registered


@contextmanager
def building(seed: int, graph: Graph | None = None) -> Iterator[Any]:
    """Open a TensorFlow 1 graph to add ops to; it contains `graph`, if given.

    Raises:
        GraphError: the graph has an op that can have side effects.
    """
    if graph is not None:
        require_registered(graph)
        require_inert(graph)
    tf1 = tensorflow().compat.v1
    built = tf1.Graph()
    with running(graph.source if graph else "new graph"), version_1(), built.as_default():
        tf1.set_random_seed(seed)
        if graph is not None:
            tf1.train.import_meta_graph(tf1.MetaGraphDef.FromString(graph.meta.SerializeToString()))
        yield built


def name_role(role: str, tensor: Any | None) -> None:
    """Record the tensor that has a role in a collection, so that it need not be inferred."""
    named = tensorflow().compat.v1.get_default_graph().get_collection_ref(ROLE_KEYS[role])
    named[:] = [] if tensor is None else [tensor]


def exported(built: Any, below: Graph | None = None) -> Graph:
    """Add a Saver of all variables and return the graph as data; `below` is the graph that it was built on."""
    tf1 = tensorflow().compat.v1
    saved = tf1.global_variables()
    saver = tf1.train.Saver(saved).as_saver_def() if saved else None
    meta = tf1.train.export_meta_graph(graph=built, saver_def=saver)
    exported = MetaGraphDef.FromString(meta.SerializeToString())
    if below is None:
        return Graph(exported, "new graph")
    for name, signature in below.header.signature_def.items():  # not exported by TensorFlow
        exported.signature_def[name].CopyFrom(signature)
    exported.asset_file_def.extend(below.header.asset_file_def)
    return _keyed_as(below, Graph(exported, below.source).allowing(below.allowed))


def _keyed_as(below: Graph, graph: Graph) -> Graph:
    """Return a graph whose variables have the same names in the checkpoint as in the graph below.

    Raises:
        GraphError: two variables would have one name.
    """
    known = {**variables(below.whole or below), **variables(below)}.values()
    keys = {variable.own_name: variable.name for variable in known}
    owners: dict[str, str] = {}
    for own in stored_tensors(graph):
        key = keys.get(own, own)
        if key in owners:
            raise GraphError(
                f"{below.source}: the Saver keeps {owners[key]} as {key}, and {own} would have that name too; name a "
                f"layer of the head otherwise, or leave the variable out (`strip` does)"
            )
        owners[key] = own
    return rename_saved(graph, lambda own: keys.get(own, own))
