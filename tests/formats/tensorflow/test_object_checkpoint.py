"""TensorFlow 2's object checkpoints: TensorFlow and Keras write them, and restore edited ones."""

import numpy as np
import pytest
from conformance import FormatTests, save_as, tensors_of

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.core.variable_kinds import OBJECT_GRAPH, base_name
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.tensorflow.bundle_writer import write_bundle
from ckpttool.formats.tensorflow.object_checkpoint import ObjectCheckpoint
from ckpttool.formats.tensorflow.prefix import BundleFiles
from ckpttool.formats.wire.protos.bundle_pb2 import TrackableObjectGraph
from ckpttool.surgery.verify import verify

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def graph_tensor(names):
    """Return an object graph with these full names for the values of an object's attributes 0, 1, 2 ..."""
    graph = TrackableObjectGraph()
    root = graph.nodes.add()
    for number, name in enumerate(names):
        root.children.add(node_id=number + 1, local_name=str(number))
        graph.nodes.add().attributes.add(name="VARIABLE_VALUE", full_name=name, checkpoint_key=f"{number}{VALUE}")
    return Tensor.of(OBJECT_GRAPH, np.array(graph.SerializeToString(), object))


class WithoutGraph:
    """The format in the tests of all formats: the object graph is not in its list."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def open(self, path):
        return {name: tensor for name, tensor in self.inner.open(path).items() if name != OBJECT_GRAPH}

    def verify(self, path):
        return (checked for checked in self.inner.verify(path) if checked.name != OBJECT_GRAPH or checked.problem)


class TestObject(FormatTests):
    name = "object"
    suffix = ".ckpt"

    @property
    def format(self):
        return WithoutGraph(ObjectCheckpoint())

    def save(self, tensors, path, overwrite):
        save_as(ObjectCheckpoint(), {OBJECT_GRAPH: graph_tensor(tensors), **tensors}, path, overwrite)

    test_bytes_decide_which_format_it_is = test_resources_are_refused = None  # below
    test_the_suffix_decides_what_is_written = None  # its suffix is a bundle's, and the object graph makes it this

    def test_the_object_graph_decides_which_format_it_is(self, path):
        checkpoint.save({OBJECT_GRAPH: graph_tensor(["a"]), "a": np.zeros(3)}, path)
        assert checkpoint.open(path).format == "object"
        checkpoint.save(checkpoint.open(path).drop(OBJECT_GRAPH), path, overwrite=True)
        assert (checkpoint.open(path).format, list(checkpoint.open(path))) == ("bundle", ["a"])

    def test_resources_cannot_be_held(self, path):
        resource = Tensor(TensorSpec("a", (), BY_NAME["resource"]), lambda: np.empty((), object))
        with pytest.raises(FormatError, match=f"0{VALUE} is a resource"):
            self.save({"a": resource}, path, False)
        assert self.files(path) == []

    def test_without_an_object_graph_it_is_refused(self, path):
        with pytest.raises(FormatError, match="needs the object graph of one; `to` bundle"):
            checkpoint.save(tensors_of(a=np.zeros(3)), path, format="object")
        assert self.files(path) == []


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


def keras_model(tf, optimizer="adam"):
    """Return a compiled Keras 3 model after one training step."""
    tf.keras.utils.clear_session(free_memory=False)
    tf.keras.utils.set_random_seed(1)
    layers = tf.keras.layers
    model = tf.keras.Sequential(
        [
            layers.Input((2,)),
            layers.Dense(3, name="hidden1"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(1, name="outputs"),
        ],
        name="net",
    )
    model.compile(optimizer, "mse")
    model.run_eagerly = True  # one step does not justify compiling a graph
    model.train_on_batch(np.ones((4, 2)), np.ones((4, 1)))
    return model


WEIGHTS = {
    *(f"net/hidden1/{part}" for part in ("kernel", "bias")),
    *(f"net/norm/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")),
    *(f"net/outputs/{part}" for part in ("kernel", "bias")),
}
TRAINED = {name for name in WEIGHTS if "moving" not in name}


def test_a_keras_3_model_is_listed_by_its_layers_names(tf, tmp_path):
    """Its weights are under the optimizer's path, which does not identify them."""
    model = keras_model(tf)
    path = tf.train.Checkpoint(model=model, step=tf.Variable(7, dtype=tf.int64, name="step")).save(str(tmp_path / "x"))
    opened = checkpoint.open(path)
    slots = {f"{name}/{slot}" for name in TRAINED for slot in ("momentum", "velocity")}
    kinds = opened.kinds()
    assert {name for name in kinds if kinds[name] == "weight"} == WEIGHTS
    assert {name for name in kinds if kinds[name] == "slot"} == slots | {"adam/learning_rate"}
    assert {name for name in kinds if kinds[name] == "step"} == {"adam/iteration", "save_counter", "step"}
    assert [name for name in kinds if kinds[name] == "object-graph"] == [OBJECT_GRAPH]
    for variable in model.weights:
        assert opened[variable.path].read().tolist() == variable.numpy().tolist()
    for variable in model.optimizer.variables[2:]:
        base, _, slot = variable.path.removeprefix("adam/net_").rpartition("_")
        assert opened[f"net/{base.replace('_', '/', 1)}/{slot}"].read().tolist() == variable.numpy().tolist()
    assert verify(path).whole


@pytest.mark.parametrize(
    ("optimizer", "slots"),
    [
        ("SGD", ["momentum"]),
        ("RMSprop", ["average_gradient", "momentum", "velocity"]),
        ("Adadelta", ["accumulated_delta_var", "accumulated_grad"]),
        ("Ftrl", ["accumulator", "linear"]),
        ("AdamW", ["average", "momentum", "velocity", "velocity_hat"]),
        ("LossScaleOptimizer", ["momentum", "velocity"]),
    ],
)
def test_every_optimizers_slots_are_told_from_the_weights(tf, tmp_path, optimizer, slots):
    optimizers = tf.keras.optimizers
    options = {
        "SGD": {"momentum": 0.9},
        "RMSprop": {"momentum": 0.9, "centered": True},
        "AdamW": {"amsgrad": True, "use_ema": True},
        "LossScaleOptimizer": {"inner_optimizer": optimizers.Adam()},
    }
    model = keras_model(tf, getattr(optimizers, optimizer)(**options.get(optimizer, {})))
    kinds = checkpoint.open(tf.train.Checkpoint(model=model).save(str(tmp_path / "x"))).kinds()
    assert {name for name in kinds if kinds[name] == "weight"} == WEIGHTS
    named = {name for name in kinds if name.startswith("net/")} - WEIGHTS
    assert named == {f"{name}/{slot}" for name in TRAINED for slot in slots}
    assert {base_name(name, kinds) for name in named} == TRAINED


def test_slots_of_one_name_go_by_their_paths(tf, tmp_path):
    model = keras_model(tf, "adafactor")
    kinds = checkpoint.open(tf.train.Checkpoint(model=model).save(str(tmp_path / "x"))).kinds()
    assert {name for name in kinds if kinds[name] == "weight"} == WEIGHTS
    paths = {name for name in kinds if name.startswith("model/optimizer/_variables/")}
    assert len(paths) == 2 * len(TRAINED)
    assert {kinds[name] for name in paths} == {"slot"}


def restored(tf, path, optimizer="adam"):
    """Restore a checkpoint into a model with other values."""
    model = keras_model(tf, optimizer)
    for variable in (*model.weights, *model.optimizer.variables):
        variable.assign(tf.zeros_like(variable) - 1 if variable.dtype != "int64" else 99)
    tf.train.Checkpoint(model=model).restore(str(path)).assert_existing_objects_matched()
    return {variable.path: variable.numpy() for variable in (*model.weights, *model.optimizer.variables)}


def test_what_is_renamed_is_restored_by_path(tf, tmp_path):
    model = keras_model(tf)
    before = {variable.path: variable.numpy() for variable in (*model.weights, *model.optimizer.variables)}
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "x"))
    checkpoint.save(checkpoint.open(path).rename({"net/hidden(.)": r"body/layer\1"}), tmp_path / "y.ckpt")

    again = checkpoint.open(tmp_path / "y.ckpt")
    assert again.format == "object"
    assert {name for name in again if name.startswith("body")} == {
        f"body/layer1/{part}{slot}" for part in ("kernel", "bias") for slot in ("", "/momentum", "/velocity")
    }
    after = restored(tf, tmp_path / "y.ckpt")
    assert {name: value.tolist() for name, value in after.items()} == {n: v.tolist() for n, v in before.items()}

    stored = TrackableObjectGraph.FromString(again[OBJECT_GRAPH].read().item())
    keys = {a.full_name: a.checkpoint_key for node in stored.nodes for a in node.attributes}
    assert keys["body/layer1/kernel"] == f"model/optimizer/_trainable_variables/0{VALUE}"
    assert set(keys.values()) == {name for name, _ in tf.train.list_variables(path)} - {OBJECT_GRAPH}


def test_what_is_dropped_keeps_its_value_and_the_model_keeps_its_weights(tf, tmp_path):
    model = keras_model(tf)
    before = {variable.path: variable.numpy() for variable in model.weights}
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "x"))
    opened = checkpoint.open(path)
    others = [name for name, kind in opened.kinds().items() if kind in ("slot", "step")]
    checkpoint.save(opened.drop("|".join(others)), tmp_path / "y.ckpt")

    assert set(checkpoint.open(tmp_path / "y.ckpt")) == {*WEIGHTS, OBJECT_GRAPH}
    after = restored(tf, tmp_path / "y.ckpt")
    untouched = {name: value for name, value in after.items() if name not in before}
    assert {name: after[name].tolist() for name in before} == {name: v.tolist() for name, v in before.items()}
    assert {value for array in untouched.values() for value in np.ravel(array).tolist()} == {-1.0, 99}


def test_a_cast_variable_is_refused_by_tensorflow_and_taken_by_one_of_that_dtype(tf, tmp_path):
    module = tf.Module()
    module.kernel = tf.Variable([1.5, 2.5], name="kernel")
    path = tf.train.Checkpoint(module=module).write(str(tmp_path / "x"))
    checkpoint.save(checkpoint.open(path).cast("float16"), tmp_path / "y")
    with pytest.raises(tf.errors.InvalidArgumentError, match="half"):
        tf.train.Checkpoint(module=module).read(str(tmp_path / "y"))
    module.kernel = tf.Variable(tf.zeros(2, tf.float16), name="kernel")
    tf.train.Checkpoint(module=module).read(str(tmp_path / "y")).assert_consumed()
    assert module.kernel.numpy().tolist() == [1.5, 2.5]


def test_variables_without_a_name_of_their_own_go_by_their_path(tf, tmp_path):
    module = tf.Module()
    module.layers = [tf.Variable([1.0]), tf.Variable([2.0], name="twice"), tf.Variable([3.0], name="twice")]
    module.one = tf.Variable([4.0], name="twice/one")
    path = tf.train.Checkpoint(module=module).write(str(tmp_path / "x"))
    names = ["module/layers/0", "module/layers/1", "module/layers/2", "twice/one"]
    assert sorted(checkpoint.open(path)) == [OBJECT_GRAPH, *names]

    checkpoint.save(checkpoint.open(path).drop("module/layers/2"), tmp_path / "y")  # then the name is no longer shared
    assert sorted(checkpoint.open(tmp_path / "y")) == [OBJECT_GRAPH, *names[:2], names[3]]
    for variable in (*module.layers, module.one):
        variable.assign([0.0])
    tf.train.Checkpoint(module=module).read(str(tmp_path / "y")).assert_consumed()
    assert [float(v[0]) for v in (*module.layers, module.one)] == [1, 2, 0, 4]


def test_names_can_be_swapped(tf, tmp_path):
    module = tf.Module()
    module.one, module.two = tf.Variable([1.0], name="a"), tf.Variable([2.0], name="b")
    path = tf.train.Checkpoint(module=module).write(str(tmp_path / "x"))
    checkpoint.save(checkpoint.open(path).rename({"a": "b", "b": "a"}), tmp_path / "y")
    values = {n: t.read().tolist() for n, t in checkpoint.open(tmp_path / "y").items() if n != OBJECT_GRAPH}
    assert values == {"a": [2.0], "b": [1.0]}
    module.one.assign([9.0])
    tf.train.Checkpoint(module=module).read(str(tmp_path / "y")).assert_consumed()
    assert float(module.one[0]) == 1


def test_a_name_that_would_be_taken_for_anothers_is_refused(tf, tmp_path):
    module = tf.Module()
    module.one, module.two = tf.Variable([1.0], name="a"), tf.Variable([2.0])
    path = tf.train.Checkpoint(module=module).write(str(tmp_path / "x"))
    for name in ("Variable", f"module/two{VALUE}"):
        with pytest.raises(FormatError, match="cannot be named"):
            checkpoint.save(checkpoint.open(path).rename({"a": name}), tmp_path / "y")
    assert not list(tmp_path.glob("y*"))


def test_a_name_based_saver_finds_the_new_names(tf, tmp_path):
    """TensorFlow 1's Saver reads object checkpoints by full names."""
    module = tf.Module()
    module.kernel = tf.Variable([1.0, 2.0], name="old/kernel")
    path = tf.train.Checkpoint(module=module).write(str(tmp_path / "x"))
    checkpoint.save(checkpoint.open(path).rename({"old": "new"}), tmp_path / "y")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        kernel = v1.get_variable("new/kernel", initializer=[0.0, 0.0])
        v1.train.Saver().restore(session, str(tmp_path / "y"))
        assert session.run(kernel).tolist() == [1, 2]


def test_tables_and_texts_are_kept(tf, tmp_path):
    module = tf.Module()
    module.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    module.table.insert(["a", "b"], [1, 2])
    module.state = tf.Variable("text", name="state")
    path = tf.train.Checkpoint(module=module).write(str(tmp_path / "x"))
    opened = checkpoint.open(path)
    assert opened["state"].read().item() == b"text"
    assert sorted(opened["module/table/table-keys"].read().tolist()) == [b"a", b"b"]
    with pytest.raises(FormatError, match=r"module/table/table-keys cannot be named z/.*: only variables have names"):
        checkpoint.save(opened.rename({"module": "z"}), tmp_path / "y")
    checkpoint.save(opened.rename({"state": "text"}), tmp_path / "y")
    assert verify(tmp_path / "y").whole
    module.table.remove(tf.constant(["a", "b"]))
    tf.train.Checkpoint(module=module).read(str(tmp_path / "y")).assert_consumed()
    assert module.table.lookup(tf.constant(["b"])).numpy().tolist() == [2]


def test_unchanged_it_is_the_same_to_the_byte(tf, tmp_path):
    path = tf.train.Checkpoint(model=keras_model(tf)).save(str(tmp_path / "x"))
    opened = Bundle().open(tmp_path / "x-1")
    named = checkpoint.open(path)
    keys = ObjectCheckpoint().open(tmp_path / "x-1").stored_as
    by_place = sorted(named, key=lambda name: opened.entries[keys[name]].stored.offset)
    checkpoint.save({name: named[name] for name in by_place}, tmp_path / "y.ckpt")
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"y.ckpt{suffix}").read_bytes() == (tmp_path / f"x-1{suffix}").read_bytes()


def test_a_tensor_without_a_place_is_refused(tmp_path):
    tensors = {OBJECT_GRAPH: graph_tensor(["hidden1/kernel"]), "hidden2/kernel": np.zeros(3)}
    with pytest.raises(FormatError, match="hidden2/kernel has no place in the object graph; nearest: hidden1/kernel"):
        checkpoint.save(tensors, tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", [np.array(b"\xff\xff", object), np.zeros(3), np.array([b"", b""], object)], ids=str)
def test_an_object_graph_that_is_none(tmp_path, bad):
    Bundle().save(tensors_of(a=np.ones(2)), tmp_path / "x")
    with pytest.raises(CorruptCheckpoint, match=OBJECT_GRAPH):
        checkpoint.save({OBJECT_GRAPH: bad, "a": np.ones(2)}, tmp_path / "y")


def test_without_its_data_the_paths_are_listed(tf, tmp_path):
    """Only the index is available; the object graph itself is data."""
    module = tf.Module()
    module.kernel = tf.Variable([1.0, 2.0], name="hidden1/kernel")
    path = tf.train.Checkpoint(module=module).write(str(tmp_path / "x"))
    assert sorted(checkpoint.open(path)) == [OBJECT_GRAPH, "hidden1/kernel"]
    (tmp_path / "x.data-00000-of-00001").unlink()
    assert sorted(checkpoint.open(path)) == [OBJECT_GRAPH, "module/kernel"]
    assert {item.name for item in verify(path).damaged} == {OBJECT_GRAPH, "module/kernel"}


def test_a_value_that_the_object_graph_has_and_the_file_has_not_is_damage(tmp_path):
    tensors = {OBJECT_GRAPH: graph_tensor(["a", "b"]), f"0{VALUE}": Tensor.of("a", np.ones(1))}
    write_bundle(tensors, BundleFiles(str(tmp_path / "x")))
    assert sorted(checkpoint.open(tmp_path / "x")) == [OBJECT_GRAPH, "a"]
    (damage,) = verify(tmp_path / "x").damaged
    assert damage.name == "b"
    assert "is in the object graph, but its value is missing" in damage.why


def test_a_damaged_value_does_not_hide_one_that_is_not_there(tmp_path):
    tensors = {OBJECT_GRAPH: graph_tensor(["a", "b"]), f"0{VALUE}": Tensor.of("a", np.full(4, 7.0))}
    write_bundle(tensors, BundleFiles(str(tmp_path / "x")))
    data = tmp_path / "x.data-00000-of-00001"
    data.write_bytes(data.read_bytes().replace(np.full(4, 7.0).tobytes(), np.full(4, 8.0).tobytes()))
    assert [each.name for each in verify(tmp_path / "x").damaged] == ["a", "b"]


def test_an_object_graph_that_is_stored_and_none_is_damage(tmp_path):
    tensors = {OBJECT_GRAPH: Tensor.of(OBJECT_GRAPH, np.array(b"\xff\xff", object)), "a": Tensor.of("a", np.ones(1))}
    write_bundle(tensors, BundleFiles(str(tmp_path / "x")))
    (damage,) = verify(tmp_path / "x").damaged
    assert damage.name == OBJECT_GRAPH
    assert "is not an object graph" in damage.why


@pytest.mark.parametrize("name", ["#", "z"])
def test_a_value_that_no_object_has_does_not_take_the_name_of_one(tmp_path, name):
    """Whichever of both keys is first."""
    tensors = {
        OBJECT_GRAPH: graph_tensor([name]),
        f"0{VALUE}": Tensor.of("a", np.ones(1)),
        f"{name}{VALUE}": Tensor.of("b", np.zeros(1)),
    }
    write_bundle(tensors, BundleFiles(str(tmp_path / "x")))
    opened = checkpoint.open(tmp_path / "x")
    assert {each: opened[each].read().tolist() for each in opened if each != OBJECT_GRAPH} == {
        name: [1.0],
        f"{name}{VALUE}": [0.0],
    }


@pytest.mark.parametrize("attribute", ["opt", "optimizer", "trainer"])
def test_slots_and_rates_are_told_by_the_object_graph_whatever_the_optimizer_is_called(tf, tmp_path, attribute):
    from ckpttool.verbs.layers import layer_rows

    keras = pytest.importorskip("keras")
    module = tf.Module()
    module.w, module.b = tf.Variable(tf.zeros([3, 4])), tf.Variable(tf.zeros([4]))
    optimizer = keras.optimizers.Adam()
    optimizer.build([module.w, module.b])
    tf.train.Checkpoint(net=module, **{attribute: optimizer}).write(str(tmp_path / "c"))
    found = checkpoint.open(tmp_path / "c").kinds()
    assert [name for name, kind in found.items() if kind == "weight"] == ["net/b", "net/w"]
    assert sorted(found.values()) == [
        "object-graph",
        "slot",
        "slot",
        "slot",
        "slot",
        "slot",
        "step",
        "weight",
        "weight",
    ]
    assert [row["name"] for row in layer_rows(tmp_path / "c")] == ["net"]
