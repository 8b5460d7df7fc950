"""A new SavedModel: a graph with its variables in a bundle (python/saved_model/{builder_impl,constants}.py)."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.tensorflow.saved_model import GRAPHS
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel
from ckpttool.formats.writing.files import replacing_folder

SCHEMA_VERSION = 1
ASSETS = "assets"
"""The folder of files that a graph reads."""


def write_saved_model(meta: MetaGraphDef, tensors: Mapping[str, Tensor], path: Path, assets: Path | None) -> None:
    """Write a folder with a graph, its variables and a copy of its assets (a folder of files), whole or not at all."""
    with replacing_folder(path) as folder:
        (folder / "variables").mkdir()
        if tensors:
            Bundle().save(tensors, folder / "variables" / "variables", False)
        if assets is not None:
            shutil.copytree(assets, folder / ASSETS)
        model = SavedModel(saved_model_schema_version=SCHEMA_VERSION, meta_graphs=[meta])
        (folder / GRAPHS[0]).write_bytes(model.SerializeToString(deterministic=True))
