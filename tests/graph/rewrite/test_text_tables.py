"""Tables from text files: the entries read here are those of TensorFlow."""

from pathlib import Path

import pytest

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.text_tables import with_read_tables

LINE, NUMBER = -2, -1
KINDS = {
    "words": (b"ant\nbee\n\xc3\xa7at", ("string", LINE), ("int64", NUMBER), {}),
    "ends of lines of Windows": (b"ant\r\nbee\r\n", ("string", LINE), ("int64", NUMBER), {}),
    "an offset": (b"ant\nbee\n", ("string", LINE), ("int64", NUMBER), {"value_index_offset": 7}),
    "numbers of words": (b"ant\nbee\n", ("int64", NUMBER), ("string", LINE), {}),
    "columns": (b"1\tant\t0.5\n2\tbee\t-1e3\n", ("int64", 0), ("float32", 2), {}),
    "a delimiter": (b"a,1\nb, 2 \n", ("string", 0), ("int64", 1), {"delimiter": ","}),
    "the first lines": (b"ant\nbee\ncat\n", ("string", LINE), ("int64", NUMBER), {"vocab_size": 2}),
}


def served(folder: Path, kind: str) -> tuple[Graph, str]:
    import tensorflow as tf

    content, (key_type, key), (value_type, value), more = KINDS[kind]
    (folder / "assets").mkdir()
    (folder / "assets" / "words.txt").write_bytes(content)
    with tf.Graph().as_default() as graph:
        asset = tf.constant(str(folder / "assets" / "words.txt"))
        types = tf.as_dtype(key_type), tf.as_dtype(value_type)
        filler = tf.lookup.TextFileInitializer(asset, types[0], key, types[1], value, **more)
        table = tf.lookup.StaticHashTable(filler, "" if value_type == "string" else -1)
        keys, values = table.export()
        tf.identity(keys, "keys"), tf.identity(values, "values")
        meta = MetaGraphDef.FromString(tf.compat.v1.train.export_meta_graph(graph=graph).SerializeToString())
    meta.asset_file_def.add(filename="words.txt").tensor_info.name = asset.name
    (fill,) = [op for op in graph.get_operations() if op.type == "InitializeTableFromTextFileV2"]
    return Graph(meta, str(folder / "saved_model.pb")), fill.name


def content(graph: Graph, fill: str) -> dict[object, object]:
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        definition = tf.compat.v1.GraphDef.FromString(graph.meta.graph_def.SerializeToString())
        tf.graph_util.import_graph_def(definition, name="")
        session.run(fill)
        return dict(zip(*(each.tolist() for each in session.run(["keys:0", "values:0"])), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_tables_hold_what_tensorflow_reads(tmp_path: Path, kind: str) -> None:
    graph, fill = served(tmp_path, kind)
    read = with_read_tables(graph)
    assert not any("TextFile" in node.op for node in read.nodes.values())
    assert content(read, fill) == content(graph, fill) != {}


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("columns", b"1\tant\n", "lacks the fields that it needs in line 1"),
        ("columns", b"1\tant\t0.5\nx\tant\t0.5\n", "lacks the fields that it needs in line 2"),
        ("the first lines", b"ant\n", "has 1 line, not 2"),
        ("words", b"ant\n\nbee\n", "has an empty line: 2"),
    ],
)
def test_a_file_that_does_not_fit_is_said(tmp_path: Path, kind: str, text: bytes, problem: str) -> None:
    graph, _ = served(tmp_path, kind)
    (tmp_path / "assets" / "words.txt").write_bytes(text)
    with pytest.raises(GraphError, match=problem):
        with_read_tables(graph)
