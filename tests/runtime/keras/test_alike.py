"""Layers whose ops are copies of another layer's: the graph equals the one with each of them traced."""

from pathlib import Path
from typing import Any

import pytest

from ckpttool.formats.wire.protos.meta_graph_pb2 import CondContextDef, MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.model.model import Model
from ckpttool.runtime.keras.alike import Alike
from tests.runtime.keras.networks import NETWORKS, keras, layers


def of_any_size() -> Any:
    """Return a network for images of any size, in half precision."""
    rows = layers.Input((None, None, 3), name="rows")
    x = rows
    for channels in (2, 4, 6):
        x = layers.Conv2D(channels, 1, dtype="mixed_float16")(x)
        x = layers.BatchNormalization(dtype="mixed_float16")(x)
    return keras.Model(rows, x)


def branches_of(graph: Graph) -> dict[str, list[tuple[Any, ...]]]:
    """Return the branches of a graph's conditionals by name, with their ops in any order."""
    named: dict[str, list[tuple[Any, ...]]] = {}
    for raw in graph.header.collection_def["cond_context"].bytes_list.value:
        each = CondContextDef.FromString(raw)
        inside = sorted(each.values_def.values), sorted(each.values_def.external_values.items())
        said = (each.branch, each.pred_name, each.pivot_name, *inside)
        named.setdefault(each.context_name, []).append(said)
    return named


def header_of(graph: Graph) -> MetaGraphDef:
    header = graph.header_copy()
    del header.collection_def["cond_context"]
    return header


@pytest.mark.parametrize("make", [NETWORKS["normalised"], NETWORKS["convolutional"], of_any_size])
def test_copies_are_what_tracing_gives(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make().save(tmp_path / "net.keras")

    copied = Model.open(tmp_path / "net.keras").graph
    with monkeypatch.context() as patched:
        patched.setattr(Alike, "of", lambda self, kind, reads, build: build())
        traced = Model.open(tmp_path / "net.keras").graph

    assert list(copied.nodes) == list(traced.nodes)
    for name, node in traced.nodes.items():
        assert copied.nodes[name] == node, name
    assert branches_of(copied) == branches_of(traced)
    assert header_of(copied) == header_of(traced)


def test_of_many_sizes_one_is_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_any_size().save(tmp_path / "net.keras")
    built, build = [], Alike._built

    def counted(self: Alike, scope: str, *args: Any) -> list[Any]:
        built.append(scope)
        return build(self, scope, *args)

    monkeypatch.setattr(Alike, "_built", counted)
    Model.open(tmp_path / "net.keras")

    assert len(built) == 1
