"""What a model is found to be: its layers, inputs, outputs, tensors, and what it keeps of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.catalogue.manifest import Row
from ckpttool.core.names import scopes
from ckpttool.formats.keras.network import is_whole_model
from ckpttool.formats.tensorflow.saved_model import is_saved_model
from ckpttool.graph.contents.class_names import class_names
from ckpttool.graph.contents.preprocessing import preprocessing_text
from ckpttool.graph.core import Graph
from ckpttool.lineage.storage import lineage_of
from ckpttool.model.resolve import graph_path, graph_that_keeps, open_either


@dataclass(frozen=True)
class Facts:
    """What is known of a model without running it; `held` has the tensors whose values are hashed."""

    family: str
    held: checkpoint.Checkpoint
    tensors: Sequence[Row] = ()
    layers: Sequence[Row] = ()
    inputs: Sequence[Row] = field(default_factory=list)
    outputs: Sequence[Row] = field(default_factory=list)
    parameters: int = 0
    preprocess: str | None = None
    classes: Sequence[str] | None = None
    lineage: Row = field(default_factory=dict)
    library: str | None = None


def described(path: Path) -> Facts:
    """Find out what a model is.

    Raises:
        CkptError: nothing is there, or it is no model.
    """
    opened = open_either(path)
    held = checkpoint.Checkpoint.of({}) if isinstance(opened, Graph) else opened
    keeps = opened if isinstance(opened, Graph) else graph_that_keeps(held.path or path)
    kinds = held.kinds()
    tensors = [{**_spec(tensor), "kind": kinds[name]} for name, tensor in held.items()]
    weights = scopes([name for name, kind in kinds.items() if kind == "weight"])
    layers = [
        {
            "name": name,
            "kind": None,
            "variables": list(own),
            "parameters": sum(held[each].spec.elements for each in own),
        }
        for name, own in weights.items()
    ]
    return Facts(
        _family(path, held),
        held,
        tensors,
        layers,
        parameters=sum(layer["parameters"] for layer in layers),  # type: ignore[misc]
        preprocess=preprocessing_text(keeps) if keeps else None,
        classes=list(class_names(keeps) or ()) or None if keeps else None,
        lineage=_lineage(path, held),
    )


def _spec(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "shape": list(tensor.shape), "dtype": str(tensor.dtype)}


def _family(path: Path, held: checkpoint.Checkpoint) -> str:
    if path.is_dir() and is_saved_model(path):
        return "saved-model"
    if path.is_file() and is_whole_model(path):
        return "keras"
    return "ckpt" if not held or graph_path(held.path) else "weights"


def _lineage(path: Path, held: checkpoint.Checkpoint) -> Row:
    """Return what made a model, without the folders of whoever did it."""
    chain = lineage_of(held.path or path, held.metadata).as_json()
    for record in chain["records"]:
        del record["arguments"]
        for source in record["sources"]:
            source["path"] = Path(source["path"]).name
    return chain
