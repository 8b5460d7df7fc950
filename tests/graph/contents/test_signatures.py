from ckpttool.core.dtypes import BY_NAME
from ckpttool.graph.contents.signatures import Argument, output_tensors, signatures
from ckpttool.graph.files import load


def test_a_saved_models_signatures(tmp_path):
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, (None, 2), name="x")
        y = tf1.identity(x, name="y")
        tf1.saved_model.simple_save(session, str(tmp_path / "model"), {"in": x}, {"out": y})

    graph = load(tmp_path / "model")
    found = signatures(graph)

    assert list(found) == ["serving_default"]
    signature = found["serving_default"]
    assert signature.method == "tensorflow/serving/predict"
    assert signature.inputs == {"in": Argument(("x:0",), BY_NAME["float32"], (None, 2))}
    assert signature.outputs == {"out": Argument(("y:0",), BY_NAME["float32"], (None, 2))}
    assert output_tensors(graph) == ["y:0"]


def test_a_sparse_argument_has_three_tensors(graph):
    made = graph("chapter")
    info = made.meta.signature_def["parse"].inputs["ids"]
    info.dtype = BY_NAME["int64"].number
    info.coo_sparse.values_tensor_name = "v:0"
    info.coo_sparse.indices_tensor_name = "i:0"
    info.coo_sparse.dense_shape_tensor_name = "s:0"
    info.tensor_shape.unknown_rank = True

    assert signatures(made)["parse"].inputs["ids"] == Argument(("v:0", "i:0", "s:0"), BY_NAME["int64"], None)
