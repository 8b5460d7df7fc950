"""Build ops as TensorFlow 1 did, next to an imported part of a graph whose tensors they read."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ckpttool.core.dtypes import dtype_numbered
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SaverDef
from ckpttool.graph.core import Graph
from ckpttool.graph.gate import require_inert
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.rewrite.splicing import Output, Site
from ckpttool.runtime.configure import running, tensorflow
from ckpttool.runtime.private import outputs_at_import
from ckpttool.runtime.registered import require_registered

_NO_SAVER = SaverDef(filename_tensor_name="none", save_tensor_name="none", restore_op_name="none")
"""Prevents `import_meta_graph` from building a saver if the graph defines none."""


@dataclass(frozen=True)
class Building:
    """The TensorFlow 1 graph `live`, to which ops are added, and the site in the graph that they are spliced into."""

    site: Site
    part: Graph
    live: Any

    def spliced(self) -> Graph:
        """Return the site's graph with the new ops, and with a saver of all its variables.

        Raises:
            GraphError: two variables would have one name in the checkpoint.
        """
        exported = tensorflow().compat.v1.train.export_meta_graph(graph=self.live)
        return self.site.spliced(self.part, MetaGraphDef.FromString(exported.SerializeToString()))


@contextmanager
def building_at(site: Site, seed: int) -> Iterator[Building]:
    """Open a TensorFlow 1 graph with the part of the site that new ops need; the names of all other ops are reserved.

    Raises:
        GraphError: the graph has an op that can have side effects, or TensorFlow refuses it.
    """
    require_registered(site.graph)
    require_inert(site.graph)
    tf1 = tensorflow().compat.v1
    live = tf1.Graph()
    with running(site.graph.source), version_1(), live.as_default():
        tf1.set_random_seed(seed)
        part = site.part(_outputs(site))
        message = tf1.MetaGraphDef.FromString(part.meta.SerializeToString())
        message.saver_def.ParseFromString(_NO_SAVER.SerializeToString())
        tf1.train.import_meta_graph(message)
        for name in {name.lower() for name in site.graph.nodes} - {name.lower() for name in part.nodes}:
            live.unique_name(name)
        yield Building(site, part, live)


def _outputs(site: Site) -> dict[str, list[Output]]:
    """Return the dtypes and inferred shapes of the ops outside of the site's part that new ops read."""
    if not site.outside:
        return {}
    below = subgraph(site.graph, site.outside).meta.graph_def
    outputs = outputs_at_import(below.SerializeToString(), site.outside)
    return {name: [(_dtype(each), _shape(each)) for each in given] for name, given in outputs.items()}


def _dtype(tensor: Any) -> Any:
    return dtype_numbered(tensor.dtype.base_dtype.as_datatype_enum)


def _shape(tensor: Any) -> Any:
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


@contextmanager
def version_1() -> Iterator[None]:
    """Build as TensorFlow 1 did: with reference variables, as in the chapter's graphs and old programs.

    Conditionals and loops consist of Switch and Merge; the gradients of such loops cannot be built otherwise.
    """
    tf1 = tensorflow().compat.v1
    resource_variables, functional = tf1.resource_variables_enabled(), tf1.control_flow_v2_enabled()
    tf1.disable_resource_variables()
    tf1.disable_control_flow_v2()
    try:
        yield
    finally:
        if resource_variables:
            tf1.enable_resource_variables()
        if functional:
            tf1.enable_control_flow_v2()


@contextmanager
def functional_loops() -> Iterator[None]:
    """Build loops as ops that call functions: Keras's recurrent layers write one element of an array per step."""
    tf1 = tensorflow().compat.v1
    functional = tf1.control_flow_v2_enabled()
    tf1.enable_control_flow_v2()
    try:
        yield
    finally:
        if not functional:
            tf1.disable_control_flow_v2()


def keep_losses(losses: Iterable[Any]) -> None:
    """Add a network's additional losses to the collection in which TensorFlow 1 keeps penalties."""
    tf1 = tensorflow().compat.v1
    for loss in losses:
        tf1.losses.add_loss(loss, tf1.GraphKeys.REGULARIZATION_LOSSES)
