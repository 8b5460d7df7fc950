"""Provenance: outputs record their sources, whether made by a command, a function, a thread or another process."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.formats.format import Writing
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph import files
from ckpttool.graph.core import Graph
from ckpttool.lineage.provenance import UNKNOWN, Command, Provenance
from ckpttool.lineage.records import Chain
from ckpttool.lineage.source_file import SourceFile
from ckpttool.lineage.storage import lineage_of
from ckpttool.surgery.average import average


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    checkpoint.save({"fc/kernel": np.ones((2, 3), np.float32), "fc/bias": np.zeros(3, np.float32)}, tmp_path / "tiny")
    return tmp_path / "tiny"


def shown(chain: Chain) -> list[tuple[str, list[str], tuple[str, ...]]]:
    """Each record as its command, the names of its sources, and its edits."""
    return [(each.command, [Path(source.path).name for source in each.sources], each.steps) for each in chain.records]


def test_views_keep_it_and_say_what_was_edited(tiny: Path, tmp_path: Path) -> None:
    checkpoint.save(checkpoint.open(tiny).select("fc").rename({"fc": "dense"}).cast("float16"), tmp_path / "a.ckpt")
    edits = ("keep fc", "rename fc=>dense", "cast float16")
    assert shown(lineage_of(tmp_path / "a.ckpt", {})) == [("save", ["tiny"], edits)]


def test_what_several_files_became_is_of_all_of_them(tiny: Path, tmp_path: Path) -> None:
    checkpoint.save(checkpoint.open(tiny).cast("float64").cast("float32"), tmp_path / "other.ckpt")
    mean = average([checkpoint.open(tiny), checkpoint.open(tmp_path / "other.ckpt"), checkpoint.open(tiny)])
    checkpoint.save(mean, tmp_path / "mean.ckpt", command=Command("average", ("tiny", "other.ckpt")))
    first, last = shown(lineage_of(tmp_path / "mean.ckpt", {}))
    assert first == ("save", ["tiny"], ("cast float64", "cast float32"))
    assert last == ("average", ["tiny", "other.ckpt"], ())


def test_arrays_in_memory_have_none_unless_a_command_writes_them(tmp_path: Path) -> None:
    arrays = Checkpoint.of({"w": np.zeros(2)})
    assert arrays.provenance is UNKNOWN
    checkpoint.save(arrays, tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    checkpoint.save(arrays, tmp_path / "b.npz", command=Command("new"))
    assert shown(lineage_of(tmp_path / "b.npz", {})) == [("new", [], ())]


def test_a_graph_in_memory_has_none_either_unless_a_command_writes_it(tmp_path: Path) -> None:
    graph = Graph(MetaGraphDef(graph_def=GraphDef(node=[NodeDef(name="a", op="NoOp")])), "memory")
    files.save(graph, tmp_path / "a.meta")
    assert [path.name for path in tmp_path.iterdir()] == ["a.meta"]
    files.save(graph, tmp_path / "b.meta", command=Command("new"))
    assert shown(lineage_of(tmp_path / "b.meta", {})) == [("new", [], ())]
    files.save(files.load(tmp_path / "a.meta"), tmp_path / "c.meta")
    assert shown(lineage_of(tmp_path / "c.meta", {})) == [("save", ["a.meta"], ())]


def test_what_arranged_the_tensors_is_known_where_all_say_the_same(tiny: Path, tmp_path: Path) -> None:
    torch = {"metadata": {"format": "pt"}}
    for name, how in (("torch", torch), ("again", torch), ("other", {"metadata": {"format": "tf"}})):
        checkpoint.save({name: np.ones(2)}, tmp_path / f"{name}.safetensors", how=Writing(**how))
    one, again, other = (
        checkpoint.open(tmp_path / f"{name}.safetensors").provenance for name in ("torch", "again", "other")
    )
    checkpoint.save(checkpoint.open(tmp_path / "torch.safetensors"), tmp_path / "torch.npz")
    assert checkpoint.open(tmp_path / "torch.npz").framework == "torch"
    assert Provenance.joined(one, again).framework == "torch"
    assert Provenance.joined(one, other).framework is None
    assert one.then("rename a=>b").framework == "torch"
    assert one.then("transpose a 1,0").framework is None
    assert Provenance.joined(one, Provenance((SourceFile.of_graph(tiny),))).framework == "tensorflow"
    assert Provenance((SourceFile.of_named_graph(Path("keras:ResNet50()")),)).files[0].source.files == ()


def convert(source: Path, output: Path) -> None:
    checkpoint.save(checkpoint.open(source), output)


def test_files_of_changes_are_sources_but_do_not_determine_the_layouts(tmp_path: Path) -> None:
    weights = {"fc.weight": np.ones((2, 3), np.float32), "fc.bias": np.zeros(2, np.float32)}
    checkpoint.save(weights, tmp_path / "a.safetensors", how=Writing(metadata={"format": "pt"}))
    np.save(tmp_path / "b.npy", np.ones(2, np.float32))
    np.savez(tmp_path / "c.npz", kernel=np.zeros((2, 3)))
    edited = checkpoint.open(tmp_path / "a.safetensors").edit("set", f"fc.bias={tmp_path / 'b.npy'}")
    edited = edited.edit("set", f"fc.weight={tmp_path / 'c.npz'}:kernel").edit("set", "fc.bias=2")
    assert (checkpoint.open(tmp_path / "a.safetensors").framework, edited.framework) == ("torch", "torch")
    checkpoint.save(edited, tmp_path / "d.ckpt")
    ((_, sources, _),) = shown(lineage_of(tmp_path / "d.ckpt", {}))
    assert sources == ["a.safetensors", "b.npy", "c.npz"]


def test_threads_do_not_mix_theirs(tiny: Path, tmp_path: Path) -> None:
    names = [f"{number}.npz" for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(convert, [tiny] * 8, [tmp_path / name for name in names]))
        list(pool.map(convert, [tmp_path / name for name in names], [tmp_path / f"of_{name}" for name in names]))
    for name in names:
        assert shown(lineage_of(tmp_path / f"of_{name}", {})) == [("save", ["tiny"], ()), ("save", [name], ())]


def test_another_process_carries_it_too(tiny: Path, tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=convert, args=(tiny, tmp_path / "a.npz"))
    process.start()
    process.join()
    assert shown(lineage_of(tmp_path / "a.npz", {})) == [("save", ["tiny"], ())]


def test_signatures_and_passwords_of_urls_are_not_in_it() -> None:
    url = "https://me:key@host/a/model.ckpt"
    command = Command("diff", (f"{url}?X-Amz-Signature=1&b=2", "--like=s3://key@bucket/x", "--rename", "a@b=>c?"))
    (record,) = UNKNOWN.chain(command).records
    assert (record.command, record.arguments) == (
        "diff",
        ("https://host/a/model.ckpt", "--like=s3://bucket/x", "--rename", "a@b=>c?"),
    )


def test_a_lineage_never_stands_alone_where_readers_ask_for_a_format(tiny: Path, tmp_path: Path) -> None:
    """transformers 4 accepts a file without metadata, and rejects one whose metadata has no format."""
    checkpoint.save(checkpoint.open(tiny), tmp_path / "a.safetensors")
    checkpoint.save(checkpoint.open(tiny), tmp_path / "b.safetensors", how=Writing(metadata={"format": "tf"}))
    for name, expected in (("a", "pt"), ("b", "tf")):
        with safe_open(str(tmp_path / f"{name}.safetensors"), "np") as file:
            assert (file.metadata()["format"], sorted(file.metadata())) == (expected, ["ckpttool.lineage", "format"])
