"""Graphs that TensorFlow refuses to import, and the repair of each."""

import pytest

from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.importable import importable


@pytest.fixture
def plain(new_network):
    with new_network().building() as net:
        X, y, _ = net.inputs()
        net.classify(net.dense(X, 3, "out", relu=False), y)
    return net.export()


def spoiled(graph, spoil):
    meta = MetaGraphDef()
    meta.CopyFrom(graph.meta)
    spoil(meta, {node.name: node for node in meta.graph_def.node})
    return Graph(meta, "old.meta")


def wrong_shapes(meta, nodes):
    del nodes["out/BiasAdd"].attr["_output_shapes"].list.shape[:]
    nodes["out/BiasAdd"].attr["_output_shapes"].list.shape.add().dim.add(size=7)


def lost_colocation(meta, nodes):
    nodes["out/BiasAdd"].attr["_class"].list.s.append(b"loc:@gone")


def unknown_device(meta, nodes):
    nodes["out/BiasAdd"].device = "/job:ps/task:3/device:GPU:9"


def gradient_of_another_program(meta, nodes):
    nodes["out/BiasAdd"].attr["_gradient_op_type"].s = b"CustomGradient-1234"


@pytest.mark.parametrize("spoil", [wrong_shapes, lost_colocation, unknown_device, gradient_of_another_program])
def test_what_tensorflow_refuses_is_mended(plain, new_session, feed, spoil):
    import tensorflow as tf

    old = spoiled(plain, spoil)
    with pytest.raises((ValueError, LookupError, tf.errors.InvalidArgumentError)):
        use(new_session, old, feed)
    use(new_session, importable(old), feed)
    assert importable(old).nodes["out/BiasAdd"].op == "BiasAdd"


def use(new_session, graph, feed):
    """Import, initialise, run and differentiate."""
    session = new_session(graph, None)
    with session.graph.as_default():
        loss = session.graph.get_tensor_by_name("loss/loss:0")
        gradients = session.v1.gradients(loss, session.v1.trainable_variables())
        session.run(gradients, feed)


@pytest.mark.parametrize("version", ["0.12.head", "unknown", "2.x"])
def test_a_version_that_is_none_is_dropped(plain, version):
    old = spoiled(plain, lambda meta, _: setattr(meta.meta_info_def, "tensorflow_version", version))
    assert importable(old).meta.meta_info_def.tensorflow_version == ""


@pytest.mark.parametrize("version", ["1.4.1", "2.21.0", "1.0.0-rc2", "2.0.0-beta1", "1.13.0.dev20190101"])
def test_a_version_stays(plain, version):
    old = spoiled(plain, lambda meta, _: setattr(meta.meta_info_def, "tensorflow_version", version))
    assert importable(old).meta.meta_info_def.tensorflow_version == version


def test_colocation_that_holds_stays_and_the_input_is_not_touched(plain):
    before = plain.meta.SerializeToString(deterministic=True)
    mended = importable(plain)
    assert mended.nodes["out/kernel/Assign"].attr["_class"].list.s[:] == [b"loc:@out/kernel"]
    assert plain.meta.SerializeToString(deterministic=True) == before
    assert importable(mended).meta == mended.meta
