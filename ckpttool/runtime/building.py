"""Building as TensorFlow 1 did, beside the part of a graph that new ops read."""

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
"""What keeps `import_meta_graph` from building a saver where the graph names none."""


@dataclass(frozen=True)
class Building:
    """A TensorFlow 1 graph that is built in, `live`, and the site of what is built."""

    site: Site
    part: Graph
    live: Any

    def spliced(self) -> Graph:
        """Return the site's graph with what was built, and with a saver of all its variables.

        Raises:
            GraphError: two variables would have one name in the checkpoint.
        """
        exported = tensorflow().compat.v1.train.export_meta_graph(graph=self.live)
        return self.site.spliced(self.part, MetaGraphDef.FromString(exported.SerializeToString()))


@contextmanager
def building_at(site: Site, seed: int) -> Iterator[Building]:
    """Open a TensorFlow 1 graph that holds the part of a site; the names of all other ops are taken.

    Raises:
        GraphError: importing it would run an op that can have side effects, or TensorFlow refuses it.
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
    """Return what the ops give that are read from outside of a site, as TensorFlow infers it."""
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
    """Build as TensorFlow 1 did: with reference variables, which the chapter's graphs and old programs have.

    Conditionals and loops are made of Switch and Merge; the gradients of such loops cannot be built otherwise.
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
    """Build loops as ops that call functions: Keras's recurrent layers write one place of an array at each step."""
    tf1 = tensorflow().compat.v1
    functional = tf1.control_flow_v2_enabled()
    tf1.enable_control_flow_v2()
    try:
        yield
    finally:
        if not functional:
            tf1.disable_control_flow_v2()


def keep_losses(losses: Iterable[Any]) -> None:
    """Keep what a network adds to its loss where TensorFlow 1 keeps penalties."""
    tf1 = tensorflow().compat.v1
    for loss in losses:
        tf1.losses.add_loss(loss, tf1.GraphKeys.REGULARIZATION_LOSSES)
