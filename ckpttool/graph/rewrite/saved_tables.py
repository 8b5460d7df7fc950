"""Look-up tables of TensorFlow 2 SavedModels: adds ops to the graph that fill them, as in TensorFlow 1.

TensorFlow 2 feeds the paths of assets to its initialiser, and restores tables that a program filled from a checkpoint.
"""

from collections.abc import Mapping

import numpy as np

from ckpttool.core.dtypes import STRING
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.object_graph import path_of
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.contents.savers import restored_tables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.free_names import FreeNames
from ckpttool.graph.ops import ASSIGNS, PLACEHOLDERS, READS
from ckpttool.graph.rewrite.draft import Draft, type_attr
from ckpttool.graph.rewrite.tables import with_assets


def with_files_of_tables(graph: Graph) -> Graph:
    """Return the graph in which the paths of the tables' files are constants, with their current values.

    TensorFlow 1's loader feeds these constants, as TensorFlow 2's loader feeds the placeholders that they replace.
    """
    draft, moved = Draft(graph), dict[TensorRef, TensorRef]()
    for asset in graph.header.asset_file_def:
        name = TensorRef.parse(asset.tensor_info.name).op
        if name in graph.nodes and graph.nodes[name].op in PLACEHOLDERS:
            draft.nodes[name] = constant(name, np.array(asset.filename.encode(), object), STRING)
            moved |= {TensorRef(read, 0): TensorRef(name, 0) for read in _reads_of_copies(graph, name)}
    draft.redirect(moved)
    return with_assets(draft.sealed())


def _reads_of_copies(graph: Graph, name: str) -> list[str]:
    """Return the ops that read variables to which an op's output is assigned."""
    assigns = [op for op in graph.consumers.get(name, []) if graph.nodes[op].op in ASSIGNS]
    copies = [graph.inputs(op)[0].op for op in assigns]
    return [read for copy in copies for read in graph.consumers.get(copy, []) if graph.nodes[read].op in READS]


def with_restored_tables(graph: Graph, tensors: Mapping[str, Tensor]) -> tuple[Graph, list[str]]:
    """Return the graph with ops that fill the tables that its saver restores, and the names of these ops."""
    draft, names = Draft(graph), FreeNames(graph.nodes)
    fillers = []
    for table, keys in restored_tables(graph).items():
        held = [name for key in keys for name in (path_of(key), key) if name in tensors]
        if len(held) < len(keys):
            continue
        parts = [
            constant(names.free(f"{table}/{part}"), tensors[name].read(), tensors[name].dtype)
            for part, name in zip(("keys", "values"), held, strict=False)
        ]
        filler = NodeDef(name=names.free(f"{table}/fill"), op="LookupTableImportV2")
        filler.input.extend([table, *(part.name for part in parts)])
        for key, part in zip(("Tin", "Tout"), parts, strict=True):
            filler.attr[key].CopyFrom(type_attr(part.attr["dtype"].type))
        draft.add(*parts, filler)
        fillers.append(filler.name)
    return draft.sealed(), fillers
