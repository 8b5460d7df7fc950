"""Look-up tables: gives them unique names, and finds the ops that fill them.

TensorFlow keeps tables by name for the whole process, so two models, or two parts of one, must not share a name.
"""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import GraphError
from ckpttool.formats.tensorflow.saved_model import ASSETS
from ckpttool.formats.wire.protos.meta_graph_pb2 import AssetFileDef
from ckpttool.graph.contents.constants import constant
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.ops import TABLE_FILLERS
from ckpttool.graph.rewrite.collections import ASSETS as ASSETS_KEY
from ckpttool.graph.rewrite.draft import Draft

_TABLES = frozenset({"HashTableV2", "MutableHashTableV2", "MutableHashTableOfTensorsV2", "MutableDenseHashTableV2"})


def tables(graph: Graph) -> list[str]:
    """Return the ops of look-up tables."""
    return [name for name, node in graph.nodes.items() if node.op in _TABLES]


def table_fills(graph: Graph, filled: Collection[str]) -> list[str]:
    """Return the ops that fill the given tables.

    Raises:
        GraphError: no op fills one of them, or only a restore does.
    """
    fills: list[str] = []
    for table in filled:
        ops = [name for name in graph.consumers.get(table, ()) if graph.nodes[name].op in TABLE_FILLERS]
        own = [name for name in ops if all(graph.nodes[op].op != "RestoreV2" for op in graph.ancestors(name))]
        if not own:
            how = (
                "is filled from a checkpoint, which is not supported" if ops else "is not filled by an op of the graph"
            )
            raise GraphError(f"{graph.source}: the look-up table {table} {how}: it would be empty")
        fills += own
    return fills


def with_own_tables(graph: Graph, owner: str) -> Graph:
    """Return the graph whose tables' shared names begin with `owner`."""
    draft = Draft(graph)
    for name in tables(graph):
        node = draft.op(name)
        shared = node.attr["shared_name"].s if "shared_name" in node.attr else b""
        node.attr["shared_name"].s = owner.encode() + b"/" + (shared or name.encode())
    return draft.sealed()


def with_assets(graph: Graph) -> Graph:
    """Return the graph of a SavedModel with the current paths of its assets."""
    folder = Path(graph.source).parent / ASSETS
    draft = Draft(graph)
    for asset in asset_files(graph):
        name, file = TensorRef.parse(asset.tensor_info.name).op, folder / Path(asset.filename).name
        if name in graph.nodes and graph.nodes[name].op == "Const" and file.is_file():
            draft.op(name).CopyFrom(constant(name, np.array(str(file).encode(), object), STRING))
    return draft.sealed()


def asset_files(graph: Graph) -> Iterator[AssetFileDef]:
    """Yield the assets that a SavedModel lists, in either of the two places that versions of TensorFlow use."""
    yield from graph.header.asset_file_def
    if ASSETS_KEY in graph.header.collection_def:
        for entry in graph.header.collection_def[ASSETS_KEY].any_list.value:
            with contextlib.suppress(DecodeError):
                yield AssetFileDef.FromString(entry.value)
