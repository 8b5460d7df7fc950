"""Repairing graphs of older versions of TensorFlow that newer ones refuse to import."""

import re
from collections.abc import Collection, Container, MutableMapping, Sequence

from ckpttool.formats.wire.protos.graph_pb2 import AttrValue, NodeDef
from ckpttool.graph.contents.collections import CONTEXTS
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.draft import Draft
from ckpttool.graph.rewrite.prune import drop_lost_colocations, has_lost_colocation, part_ops, prune

_KEPT = frozenset({"_class", "_lower_using_switch_merge"})
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc|-rc|-alpha|-beta|-dev)\d*)?(\.?(post|dev)\d+)?(\+[\w.]+)?")


def importable(graph: Graph) -> Graph:
    """Return the graph without the attributes that make `import_meta_graph` and `import_graph_def` fail.

    - Attributes that begin with an underscore are annotations of the program that wrote the graph. `_output_shapes` is
      wrong on old gradient ops, and the import compares it; `_gradient_op_type` names gradients that were registered
      only in that program; `_cloned`, `_XlaCompile` and the like are meaningless here. `_class` is kept, because it
      colocates reference variables with their updates, but without removed ops, which the import refuses.
      `_lower_using_switch_merge` is kept, because it determines how conditionals run.
    - Devices such as `/gpu:0` or a parameter server are cleared, because they may not exist.
    - A `tensorflow_version` such as `0.12.head`, which TensorFlow cannot parse, is removed.

    Attributes that the importing version does not know are kept: it ignores those with their default value.
    """
    draft = Draft(graph)
    _mend(draft)
    return draft.sealed()


def importable_part(graph: Graph, targets: Sequence[str], boundary: Collection[str] = ()) -> Graph:
    """Return `importable(subgraph(graph, targets, boundary))` for `import_graph_def`, with a single copy.

    `import_graph_def` reads no contexts of conditionals and loops, so the part has none.

    Raises:
        UnknownName: a target is not in the graph.
        GraphError: an op reads one that is not in the graph.
    """
    draft = Draft(graph)
    for key in CONTEXTS:
        draft.header.collection_def.pop(key, None)
    prune(draft, part_ops(graph, targets, boundary))
    _mend(draft)
    return draft.sealed()


def _mend(draft: Draft) -> None:
    for name, node in list(draft.nodes.items()):
        if node.device or has_lost_colocation(node, draft.nodes) or any(map(_is_note, node.attr)):
            _mend_node(draft.op(name), draft.nodes)
    for function in draft.header.graph_def.library.function:
        _drop_notes(function.attr)
        local = {node.name for node in function.node_def}
        for node in function.node_def:
            _mend_node(node, local)
    if not _VERSION.fullmatch(draft.header.meta_info_def.tensorflow_version):
        draft.header.meta_info_def.ClearField("tensorflow_version")


def _mend_node(node: NodeDef, ops: Container[str]) -> None:
    _drop_notes(node.attr)
    node.ClearField("device")
    drop_lost_colocations(node, ops)


def _is_note(key: str) -> bool:
    return key.startswith("_") and key not in _KEPT


def _drop_notes(attributes: MutableMapping[str, AttrValue]) -> None:
    """Remove the attributes that only the program that wrote the graph could use, in place."""
    for key in [key for key in attributes if _is_note(key)]:
        del attributes[key]
