"""Real graphs, cut and rewritten, run in TensorFlow; frozen ones are trained by it."""

import os
from pathlib import Path

import numpy as np
import pytest

from ckpttool.graph.contents.variables import variables
from ckpttool.graph.files import load
from ckpttool.graph.freezing.closure import frozen_part
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import subgraph, without_training
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.verbs.freeze import freeze_graph

CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS names no folder of real files")

GRAPHS = {
    "tfx2019_tf1_estimator/serving_model_dir/model.ckpt-10000.meta": "add:0",
    "crowd_counting_3frameworks/modelA/model.ckpt.meta": "add_12:0",
    "crowd_counting_3frameworks/modelB/model.ckpt.meta": "add_12:0",
    "scisharp_metas/vd_cnn.meta": "fc-3/dense/BiasAdd:0",
    "scisharp_metas/lstm_crf_ner.meta": "Mean:0",
    "scisharp_metas/word2vec.meta": "Mean:0",
    "scisharp_metas/InceptionV3.meta": "module_apply_default/hub_output/feature_vector/SpatialSqueeze:0",
}


def as_functions_part(graph, target):
    """Import a part as the runtime does: into a `tf.function`'s graph, with external variables."""
    import tensorflow as tf

    part = to_resource(importable(subgraph(graph, [target])))
    definition = tf.compat.v1.GraphDef.FromString(part.meta.graph_def.SerializeToString())
    with tf.Graph().as_default():
        (found,) = tf.graph_util.import_graph_def(definition, return_elements=[target])
    return part, found


@pytest.mark.parametrize("path", GRAPHS)
def test_the_part_of_the_logits_is_imported(path):
    graph = load(CORPUS / path)
    part, found = as_functions_part(graph, GRAPHS[path])
    assert found.dtype.name == "float32"
    assert len(part.nodes) < len(graph.nodes)
    assert not {"VariableV2", "Variable", "Assign"} & {node.op for node in part.nodes.values()}


@pytest.mark.parametrize("path", [path for path in GRAPHS if "Inception" not in path])
def test_the_forward_part_is_imported_with_its_variables(path, new_session):
    graph = load(CORPUS / path)
    part = importable(without_training(graph, [GRAPHS[path]]))
    session = new_session(part, None)
    with session.graph.as_default():
        assert {v.op.name for v in session.v1.global_variables()} == {v.op for v in variables(part).values()}


@pytest.mark.parametrize("path", [path for path in GRAPHS if "Inception" not in path])
def test_the_whole_graph_is_imported_with_resource_variables(path, new_session):
    graph = load(CORPUS / path)
    session = new_session(to_resource(importable(graph)), None)
    with session.graph.as_default():
        assert len(session.v1.global_variables()) == len(variables(graph))


def test_batch_norm_that_tensorflow_refuses_is_frozen_and_trained(new_session):
    graph = load(CORPUS / "scisharp_metas/vd_cnn.meta")
    roles = find_roles(graph)
    frozen = [name for name in variables(graph) if name.startswith(("embeddings", "conv-0/", "conv-block-1/"))]
    frozen = [name for name in frozen if "/Adam" not in name]
    part = frozen_part(graph, frozen, [roles.loss, roles.logits], roles.training)
    assert len(part.features) == 1
    assert any(name.endswith("moving_mean") for name in part.variables)
    assert (part.random_ops, part.batch_ops, part.above) == ((), (), ())
    session = new_session(freeze_graph(graph, frozen), None)
    draw = np.random.default_rng(1)
    shape = session.graph.get_tensor_by_name(roles.inputs[0]).shape
    rows = draw.integers(0, 20, size=(4, shape[1]))
    feed = {roles.inputs[0]: rows, roles.labels: draw.integers(0, 2, size=4), roles.training: True}
    before = session.weights()
    session.run(roles.training_op, feed)
    after = session.weights()
    moved = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert not moved & set(part.variables)
    assert "dense_2/kernel" in moved
    assert any(name.endswith("moving_mean") for name in moved)


def test_a_branch_of_a_real_network_is_frozen_and_the_others_go_on(new_session):
    prefix = CORPUS / "crowd_counting_3frameworks/modelB/model.ckpt"
    graph = load(f"{prefix}.meta")
    frozen = [f"{part}_conv{number}_1" for number in range(1, 5) for part in "wb"]
    for method in ("var-list", "stop-gradient"):
        session = new_session(freeze_graph(graph, frozen, method), prefix)
        image = np.random.default_rng(1).normal(size=(1, 32, 32, 1)).astype(np.float32)
        before = session.weights()
        session.run("Adam", {"Placeholder:0": image, "Placeholder_1:0": np.ones((1, 8, 8, 1), np.float32)})
        after = session.weights()
        moved = {name for name in before if before[name].tobytes() != after[name].tobytes()}
        assert not moved & set(frozen)
        assert {"w_conv1_2", "w_conv1_3", "w_conv5"} & moved
