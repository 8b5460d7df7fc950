"""SavedModels: TensorFlow and Keras make them, and load edited ones."""

import itertools

import numpy as np
import pytest
from conformance import FormatTests, ReadBackTests, save_as, tensors_of

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, MissingFile, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats.format import Writing
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.tensorflow.object_graph import EXPORTED_TWICE
from ckpttool.formats.tensorflow.saved_model import SavedModel
from ckpttool.formats.wire.protos.meta_graph_pb2 import SavedModel as Message
from ckpttool.surgery.verify import verify


def zeros(tensor):
    return Tensor(
        tensor.spec, lambda: np.full(tensor.shape, b"" if tensor.dtype.name == "string" else 0, tensor.dtype.numpy)
    )


class TestSavedModel(FormatTests, ReadBackTests):
    name = "saved-model"
    suffix = ""

    @pytest.fixture(autouse=True)
    def _models(self, tmp_path_factory):
        self.places = (tmp_path_factory.mktemp("like") / str(number) for number in itertools.count())

    def save(self, tensors, path, overwrite):
        """Save a copy of a model that has zeros for these tensors."""
        like = next(self.places)
        (like / "variables").mkdir(parents=True)
        (like / "saved_model.pb").write_bytes(Message(saved_model_schema_version=1).SerializeToString())
        Bundle().save({name: zeros(tensor) for name, tensor in tensors.items()}, like / "variables/variables")
        save_as(self.format, tensors, path, overwrite, Writing(like=like))

    def files(self, path):
        return sorted(file for file in path.parent.rglob("*") if file.is_file() and file.name != "saved_model.pb")

    test_the_suffix_decides_what_is_written = None  # not recognised by a suffix
    test_names_are_not_files = test_resources_are_refused = None  # the variables are a bundle, which has its own tests


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture
def linear(tf, tmp_path):
    """y = 2 x + 1 and a file, saved by TensorFlow 2."""
    (tmp_path / "words.txt").write_text("a\nb\n")
    module = tf.Module()
    module.w, module.b = tf.Variable([[2.0]], name="line/w"), tf.Variable([1.0], name="line/b")
    module.words = tf.saved_model.Asset(str(tmp_path / "words.txt"))
    serve = tf.function(lambda x: {"y": x @ module.w + module.b}, input_signature=[tf.TensorSpec([None, 1])])
    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=serve)
    return tmp_path / "model"


def doubled(tensor):
    return Tensor.of(tensor.name, tensor.read() * np.float32(2))


def test_tensorflow_2_loads_the_edited_values(tf, linear, tmp_path):
    opened = checkpoint.open(linear)
    assert (opened.format, sorted(opened)[1:]) == ("saved-model", ["line/b", "line/w"])
    edited = {name: doubled(t) if name.startswith("line") else t for name, t in opened.items()}
    checkpoint.save(edited, tmp_path / "out", how=Writing(like=linear))

    again = tf.saved_model.load(str(tmp_path / "out"))
    assert again.signatures["serving_default"](tf.constant([[3.0]]))["y"].numpy().tolist() == [[14.0]]
    assert again.w.numpy().tolist() == [[4.0]]
    assert tf.io.read_file(again.words.asset_path).numpy() == b"a\nb\n"
    assert (tmp_path / "out/saved_model.pb").read_bytes() == (linear / "saved_model.pb").read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["assets", "saved_model.pb", "variables"]
    assert verify(tmp_path / "out").whole
    assert tf.saved_model.load(str(linear)).w.numpy().tolist() == [[2.0]]


def test_a_view_knows_the_model_that_it_is_of(tf, linear, tmp_path):
    checkpoint.save(checkpoint.open(linear), tmp_path / "out", format="saved-model")
    again = tf.saved_model.load(str(tmp_path / "out"))
    assert again.serve(tf.constant([[3.0]]))["y"].numpy().tolist() == [[7.0]]


def test_a_model_can_be_edited_in_its_place(tf, linear):
    opened = checkpoint.open(linear)
    values = {"line/w": np.array([[5.0]], np.float32), "line/b": np.array([0.0], np.float32)}
    assert set(values) < set(opened)
    checkpoint.save(values, linear, overwrite=True, how=Writing(like=linear))
    again = tf.saved_model.load(str(linear))
    assert again.serve(tf.constant([[3.0]]))["y"].numpy().tolist() == [[15.0]]
    assert sorted(path.name for path in linear.parent.iterdir()) == ["model", "words.txt"]


def test_tensorflow_1_loads_the_edited_values(tf, tmp_path):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        y = tf.multiply(x, v1.get_variable("scale", initializer=2.0), name="y")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"y": y})
    opened = checkpoint.open(tmp_path / "model")
    checkpoint.save({"scale": np.float32(3)}, tmp_path / "out", how=Writing(like=tmp_path / "model"))
    assert (list(opened), verify(tmp_path / "out").format) == (["scale"], "saved-model")
    with tf.Graph().as_default(), v1.Session() as session:
        v1.saved_model.load(session, ["serve"], str(tmp_path / "out"))
        assert session.run("y:0", {"x:0": [5.0]}).tolist() == [15.0]


def test_what_keras_exports_is_named_by_its_layers(tf, tmp_path):
    layers = tf.keras.layers
    model = tf.keras.Sequential([layers.Input((2,)), layers.Dense(3, name="hidden1")], name="net")
    model.export(str(tmp_path / "model"), verbose=False)
    opened = checkpoint.open(tmp_path / "model")
    names = {variable.path for variable in model.variables}
    assert names <= set(opened)
    edited = {name: doubled(t) if name in names else t for name, t in opened.items()}
    checkpoint.save(edited, tmp_path / "out", how=Writing(like=tmp_path / "model"))
    copies = [name for name in opened if name.startswith(EXPORTED_TWICE)]
    values = [sorted(opened[name].read().tobytes() for name in each) for each in (names, copies)]
    assert values[0] == values[1], "Keras stores what it exports once more"
    written = checkpoint.open(tmp_path / "out")
    values = [sorted(written[name].read().tobytes() for name in each) for each in (names, copies)]
    assert values[0] == values[1]
    again = tf.saved_model.load(str(tmp_path / "out"))
    served = again.serve(np.ones((1, 2), np.float32))
    assert np.allclose(served.numpy(), 2 * model(np.ones((1, 2))).numpy())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found.rename({"line": "curve"}), "has no variable curve/b"),
        (
            lambda found: found.drop("line/b"),
            "nothing for line/b of .*an output named such as x.ckpt stores them without the graph",
        ),
        (lambda found: found.cast("float16"), r"line/b is float16 \[1\], expected float32 \[1\]"),
        (lambda found: {**found, "line/w": doubled(found["line/b"])}, r"line/w is float32 \[1\], expected .* \[1, 1\]"),
    ],
    ids=["renamed", "dropped", "cast", "reshaped"],
)
def test_what_the_graph_does_not_have_is_refused(linear, tmp_path, change, words):
    with pytest.raises(PlanError, match=words):
        checkpoint.save(change(checkpoint.open(linear)), tmp_path / "out", how=Writing(like=linear))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "words.txt"]


def test_there_must_be_a_model_to_copy(tmp_path):
    with pytest.raises(PlanError, match=r"out is written as an edited copy of a SavedModel.*`like`"):
        checkpoint.save(tensors_of(a=np.ones(1)), tmp_path / "out", format="saved-model")
    with pytest.raises(MissingFile, match="gone is not a SavedModel"):
        checkpoint.save(tensors_of(a=np.ones(1)), tmp_path / "out", "saved-model", how=Writing(like=tmp_path / "gone"))


def test_a_graph_and_variables_make_it(tmp_path):
    for name in ("graph", "values", "both"):
        (tmp_path / name / "variables").mkdir(parents=True)
        if name != "values":
            message = Message(saved_model_schema_version=1).SerializeToString()
            (tmp_path / name / "saved_model.pb").write_bytes(message)
        if name != "graph":
            Bundle().save(tensors_of(a=np.ones(1)), tmp_path / name / "variables/variables")
    assert [path.name for path in tmp_path.iterdir() if SavedModel().recognises(path)] == ["both"]


def test_only_a_saved_model_is_replaced(linear, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").write_text("dear")
    with pytest.raises(CkptError, match="home is not a folder of this kind, and is not replaced"):
        checkpoint.save(checkpoint.open(linear), tmp_path / "home", "saved-model", overwrite=True)
    assert (tmp_path / "home/letter").read_text() == "dear"


def test_weights_that_are_constants_of_functions_are_named(tf, tmp_path):
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    module, weights = tf.Module(), tf.Variable(np.ones((3, 2), np.float32), name="fc/kernel")
    traced = tf.function(lambda x: x @ weights).get_concrete_function(tf.TensorSpec([None, 3]))
    module.serve = convert_variables_to_constants_v2(traced)
    tf.saved_model.save(module, str(tmp_path / "frozen"), signatures={"serving_default": module.serve})
    opened = checkpoint.open(tmp_path / "frozen")
    assert list(opened) == [OBJECT_GRAPH]
    (left_out,) = opened.left_out
    assert "is a constant of the function __inference_pruned" in left_out
