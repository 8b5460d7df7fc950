"""Mending what TensorFlow refuses to import from graphs that older versions of it wrote."""

import re
from collections.abc import Container

from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.core import Graph, copy_of
from ckpttool.graph.rewrite.prune import drop_lost_colocations

_KEPT = frozenset({"_class", "_lower_using_switch_merge"})
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc|-rc|-alpha|-beta|-dev)\d*)?(\.?(post|dev)\d+)?(\+[\w.]+)?")


def importable(graph: Graph) -> Graph:
    """Return the graph without what makes `import_meta_graph` and `import_graph_def` refuse it.

    - Attributes that begin with an underscore are notes of the program that wrote the graph. `_output_shapes` is
      wrong on old gradient ops, and the import compares it; `_gradient_op_type` names gradients that were registered
      in that program only; `_cloned`, `_XlaCompile` and the like mean nothing here. `_class` stays, for it keeps
      reference variables and their updates together, without the locations whose op is gone: these are refused.
      `_lower_using_switch_merge` stays: it decides how conditionals run.
    - Devices are cleared: `/gpu:0` or a parameter server is not there.
    - A `tensorflow_version` such as `0.12.head` is no version to a parser, and is dropped.

    Attributes that the importing version does not know are left: it drops those that have their default value.
    """
    meta = copy_of(graph)
    for node in meta.graph_def.node:
        _mend(node, graph.nodes)
    for function in meta.graph_def.library.function:
        _drop_notes(function.attr)
        local = {node.name for node in function.node_def}
        for node in function.node_def:
            _mend(node, local)
    if not _VERSION.fullmatch(meta.meta_info_def.tensorflow_version):
        meta.meta_info_def.ClearField("tensorflow_version")
    return graph.with_meta(meta)


def _mend(node: NodeDef, ops: Container[str]) -> None:
    _drop_notes(node.attr)
    node.ClearField("device")
    drop_lost_colocations(node, ops)


def _drop_notes(attributes: object) -> None:
    """Drop the attributes that only the program which wrote the graph could read."""
    for key in [key for key in attributes if key.startswith("_") and key not in _KEPT]:  # type: ignore[attr-defined]
        del attributes[key]  # type: ignore[attr-defined]
