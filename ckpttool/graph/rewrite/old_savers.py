"""Conversion of TensorFlow 0.x savers: their ops read and write only files of version 1, and we write version 2.

`RestoreV2` reads both versions, so a converted graph still restores its old checkpoints.
"""

import numpy as np

from ckpttool.core.dtypes import STRING
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SaverDef
from ckpttool.graph.collection_entries import entry_of
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.contents.savers import texts
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import SAVER_DTYPES, SAVES, SLICED_SAVERS
from ckpttool.graph.rewrite.draft import Draft, control_inputs, free_name, input_text, set_inputs, type_attr

_NEW = {"Save": "SaveV2", "SaveSlices": "SaveV2", "Restore": "RestoreV2", "RestoreSlice": "RestoreV2"}
"""The ops of version 1, with the equivalent ops of version 2."""


def with_savers_of_version_2(graph: Graph) -> Graph:
    """Return the graph whose savers read and write checkpoints of version 2; one that already does is unchanged.

    Ops keep their names, and tensors their keys. Shards, which were separate files, are merged into one checkpoint as
    in TensorFlow 1.

    Raises:
        GraphError: the names that a saver uses are computed.
    """
    old = [name for name, node in graph.nodes.items() if node.op in _NEW]
    if not any(_NEW[graph.nodes[name].op] == "RestoreV2" for name in old):
        return graph
    draft = Draft(graph)
    for name in old:
        _renew(draft, name)
    for name, node in graph.nodes.items():
        if node.op == "ShardedFilespec":
            _merge(draft, name)
    _say_version_2(draft.header)
    return draft.sealed()


def _renew(draft: Draft, name: str) -> None:
    """Convert a saver's op to version 2, in place: names and slices are vectors, dtypes a list."""
    node, (file, keys, *rest) = draft.op(name), draft.graph.inputs(name)
    is_sliced = node.op in SLICED_SAVERS
    count = len(texts(draft.graph, keys))
    slices = texts(draft.graph, rest[0]) if is_sliced else [""] * count
    vectors = {f"{name}/tensor_names": texts(draft.graph, keys), f"{name}/shape_and_slices": slices}
    places = []
    for wanted, values in vectors.items():
        place = free_name(f"{wanted}_v2", draft.nodes)
        draft.add(constant(place, np.array([value.encode() for value in values], object), STRING))
        places.append(TensorRef(place, 0))
    data = rest[1:] if is_sliced else rest
    types = list(node.attr[SAVER_DTYPES[node.op]].list.type) if node.op in SAVES else [node.attr["dt"].type]
    set_inputs(node, [file, *places, *data], control_inputs(node))
    node.op = _NEW[node.op]
    for key in ("T", "dt", "preferred_shard", "_output_shapes"):
        node.attr.pop(key, None)
    node.attr["dtypes"].list.type.extend(types)


def _merge(draft: Draft, name: str) -> None:
    """Convert the op that named all shards to one that merges them and returns the checkpoint's name, in place."""
    graph = draft.graph
    before = graph.ancestors(name, control=True)
    saves = [op for op, each in graph.nodes.items() if op in before and each.op in SAVES]
    if not saves:
        return
    node, file = draft.op(name), graph.inputs(name)[0]
    shards = NodeDef(name=free_name(f"{name}/checkpoint_prefixes", draft.nodes), op="Pack")
    set_inputs(shards, [graph.inputs(op)[0] for op in saves], saves)
    shards.attr["N"].i = len(saves)
    shards.attr["T"].CopyFrom(type_attr(STRING.number))
    merge = NodeDef(name=free_name(f"{name}/MergeV2Checkpoints", draft.nodes), op="MergeV2Checkpoints")
    merge.input.extend([shards.name, input_text(file)])
    merge.attr["delete_old_dirs"].b = False
    draft.add(shards, merge)
    node.op = "Identity"
    node.attr["T"].CopyFrom(type_attr(STRING.number))
    set_inputs(node, [file], [merge.name])


def _say_version_2(header: MetaGraphDef) -> None:
    """Set the version of the savers to 2, in place."""
    if header.HasField("saver_def"):
        header.saver_def.version = SaverDef.V2
    if "savers" in header.collection_def:
        listed = header.collection_def["savers"].bytes_list.value
        for place, raw in enumerate(listed):
            saver = entry_of(SaverDef, raw)
            saver.version = SaverDef.V2
            listed[place] = saver.SerializeToString()
