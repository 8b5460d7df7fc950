import pytest

from ckpttool.core.errors import CorruptCheckpoint, ExistingOutput
from ckpttool.graph import files
from ckpttool.graph.core import Graph
from ckpttool.graph.files import load, save


def test_what_is_saved_is_what_tensorflow_saved(graph, metas, tmp_path):
    import tensorflow as tf

    for path in metas.glob("*.meta"):
        save(load(path), tmp_path / path.name)
        ours = tf.compat.v1.MetaGraphDef.FromString((tmp_path / path.name).read_bytes())
        assert ours == tf.compat.v1.MetaGraphDef.FromString(path.read_bytes())
    assert {path.name for path in tmp_path.glob("*.meta")} == {path.name for path in metas.iterdir()}


def test_an_existing_output_is_refused(graph, tmp_path):
    save(graph("chapter"), tmp_path / "a.meta")
    with pytest.raises(ExistingOutput, match=r"a\.meta exists already"):
        save(graph("adam"), tmp_path / "a.meta")
    assert load(tmp_path / "a.meta").meta == graph("chapter").meta

    save(graph("adam"), tmp_path / "a.meta", overwrite=True)
    assert load(tmp_path / "a.meta").meta == graph("adam").meta


def test_fields_that_this_tool_does_not_know_are_kept(tmp_path, metas):
    data = (metas / "chapter.meta").read_bytes() + b"\xba\x3e\x03abc"  # field 999, three bytes
    (tmp_path / "new.meta").write_bytes(data)

    save(load(tmp_path / "new.meta"), tmp_path / "again.meta")

    assert b"\xba\x3e\x03abc" in (tmp_path / "again.meta").read_bytes()
    assert isinstance(load(tmp_path / "again.meta"), Graph)


def test_a_graph_that_reads_back_differently_is_not_written(graph, tmp_path, monkeypatch):
    save(graph("chapter"), tmp_path / "a.meta")
    write = files.write
    monkeypatch.setattr(files, "write", lambda _, path: write(graph("chapter").meta, path))

    with pytest.raises(CorruptCheckpoint, match=r"a\.meta: the graph reads back differently than it was written"):
        save(graph("adam"), tmp_path / "a.meta", overwrite=True)

    assert load(tmp_path / "a.meta").meta == graph("chapter").meta
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.meta", "a.meta.lineage.json"]
