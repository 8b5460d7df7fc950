import pytest

from ckpttool.core.errors import FormatError, GraphError
from ckpttool.formats.wire.protos.graph_pb2 import GraphDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import SavedModel
from ckpttool.graph.files import load


@pytest.mark.parametrize("text", [False, True])
def test_a_graph_def_is_read_binary_and_as_text(graph, tmp_path, text):
    import tensorflow as tf

    whole = graph("chapter")
    graph_def = tf.compat.v1.GraphDef.FromString(whole.meta.graph_def.SerializeToString())
    tf.io.write_graph(graph_def, str(tmp_path), "graph.pb", as_text=text)

    assert load(tmp_path / "graph.pb").meta.graph_def == whole.meta.graph_def


def test_a_meta_is_read_as_text(metas, graph, tmp_path):
    import tensorflow as tf

    with tf.Graph().as_default():
        saver = tf.compat.v1.train.import_meta_graph(str(metas / "chapter.meta"))
        saver.export_meta_graph(str(tmp_path / "text.meta"), as_text=True)

    assert list(load(tmp_path / "text.meta").nodes) == list(graph("chapter").nodes)


def test_a_saved_model_with_several_graphs_asks_for_tags(graph, tmp_path):
    model = SavedModel()
    for tags in (["train", "serve"], ["serve"], ["serve", "gpu"]):
        meta = model.meta_graphs.add()
        meta.CopyFrom(graph("chapter").meta)
        meta.meta_info_def.tags[:] = tags
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())

    with pytest.raises(GraphError, match="3 graphs, tagged train,serve; serve; serve,gpu; specify one with `tags`"):
        load(tmp_path)
    assert load(tmp_path, ["serve"]).meta.meta_info_def.tags == ["serve"]
    assert load(tmp_path / "saved_model.pb", ["gpu"]).meta.meta_info_def.tags == ["serve", "gpu"]
    with pytest.raises(GraphError, match="0 graphs tagged tpu; it has train,serve; serve; serve,gpu"):
        load(tmp_path, ["tpu"])


def test_a_saved_model_under_another_name_is_known_by_its_bytes(graph, tmp_path):
    model = SavedModel(saved_model_schema_version=1)
    model.meta_graphs.add().CopyFrom(graph("chapter").meta)
    (tmp_path / "model.pb").write_bytes(model.SerializeToString())

    assert load(tmp_path / "model.pb").meta == graph("chapter").meta


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file, not a graph"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "not a graph but an HDF5 file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "not a graph but a git-LFS pointer"),
        (b"PK\x03\x04" + bytes(20), "not a graph but a zip archive"),
        (bytes(40) + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb", "not a graph but a checkpoint's index"),
        (b"\x00\x01\x02garbage", "neither a MetaGraphDef"),
        (b"hello, world\n", "neither a MetaGraphDef"),
        (b'node { name: "a" op: "Const" attr { key: "dtype" value { opType: DT_FLOAT } } }', 'no field named "opType"'),
        (b"\x0a\xff\xff\xff\xff\x7f", "neither a MetaGraphDef"),
    ],
)
def test_what_is_no_graph_is_refused_by_what_it_is(tmp_path, data, message):
    (tmp_path / "x.meta").write_bytes(data)

    with pytest.raises(FormatError) as caught:
        load(tmp_path / "x.meta")

    assert str(caught.value).startswith(f"{tmp_path / 'x.meta'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused_or_a_shorter_graph(chapter, graph):
    """A cut at a field's end is a valid message to protobuf; then the ops before it are whole."""
    data, nodes = chapter.read_bytes(), list(graph("chapter").nodes)
    for length in range(0, len(data), 997):
        chapter.write_bytes(data[:length])
        try:
            found = list(load(chapter).nodes)
        except FormatError as error:
            assert str(chapter) in str(error)
        else:
            assert found == nodes


def test_a_deep_message_is_refused(tmp_path):
    """Function attributes can be nested deeply; TensorFlow's reader stops at 100 levels, and so does this one."""
    graph_def = GraphDef()
    value = graph_def.node.add(name="a", op="NoOp").attr["f"]
    for _ in range(200):
        value = value.func.attr["f"]
    (tmp_path / "deep.pb").write_bytes(graph_def.SerializeToString())

    with pytest.raises(FormatError, match=r"deep\.pb: neither"):
        load(tmp_path / "deep.pb")


def test_an_op_twice_is_refused(tmp_path):
    graph_def = GraphDef()
    for _ in range(2):
        graph_def.node.add(name="a", op="NoOp")
    (tmp_path / "twice.pb").write_bytes(graph_def.SerializeToString())

    with pytest.raises(GraphError, match=r"twice\.pb: two ops are named a"):
        load(tmp_path / "twice.pb")
