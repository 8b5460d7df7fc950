"""Whole Keras models: the archive's weights are read in place, and nothing in it is run or followed."""

import io
import json
import stat
import zipfile

import h5py
import numpy as np
import pytest
from conformance import change_on_disk, save_as, tensors_of
from keras_files import CONFIG, EditedCopyTests, account, archive, network, weights_file

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats import registry
from ckpttool.formats.format import Writing
from ckpttool.formats.keras import archive as keras_archive
from ckpttool.formats.keras.archive import KerasArchive
from ckpttool.formats.reading import archive as archives
from ckpttool.surgery.convert import plan_convert

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)


class TestKerasArchive(EditedCopyTests):
    name = "keras"
    suffix = ".keras"
    writer = "ckpttool.formats.keras.archive.write_tree"

    def like(self, folder, tensors):
        return archive(folder / "like.keras", weights_file(folder / "w.weights.h5", tensors))

    def test_a_damaged_tensor_does_not_hide_the_others(self, path):
        """The zip's checksum shows that the weights are damaged, but not which: none is read."""
        self.save(tensors_of(a=np.full(8, 7.0), b=np.full(8, 9.0), c=np.full(8, 5.0)), path, False)
        path.write_bytes(path.read_bytes().replace(np.full(8, 9.0).tobytes(), np.full(8, 8.0).tobytes()))
        problems = {item.name: item.problem for item in self.format.verify(path)}
        assert list(problems) == ["metadata.json", "config.json", "model.weights.h5"]
        assert [name for name, problem in problems.items() if problem] == ["model.weights.h5"]

    def test_no_tensors_at_all(self, path):
        self.save({}, path, False)
        assert list(self.format.open(path)) == []
        assert [item.problem for item in self.format.verify(path)] == [None] * 3


def test_members_and_tensors_are_verified_one_by_one(tmp_path):
    path = archive(tmp_path / "x.keras", weights_file(tmp_path / "w.weights.h5", tensors_of(a=np.zeros(2))))
    found = {each.name: each.problem for each in KerasArchive().verify(path)}
    assert found == dict.fromkeys(["metadata.json", "config.json", "model.weights.h5", "a"])


def test_a_configuration_that_is_too_large_is_said_to_be(tmp_path, monkeypatch):
    path = archive(tmp_path / "x.keras", weights_file(tmp_path / "w.weights.h5", tensors_of(a=np.zeros(2))))
    monkeypatch.setattr(keras_archive, "LARGEST", 20)
    with pytest.raises(FormatError, match=r"config\.json, which .* has \d+ bytes, at most 20 are read"):
        checkpoint.open(path)


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_archive_is_not_copied_and_a_whole_model_can_become_one(tmp_path, whole):
    with h5py.File(tmp_path / "like.h5", "w") as file:
        file.attrs.update({"model_config": "{}"} if whole else {})
    with pytest.raises(PlanError, match=r"like\.h5 is not a \.keras archive") as refused:
        save_as(KerasArchive(), {}, tmp_path / "out.keras", False, Writing(like=tmp_path / "like.h5"))
    assert ("an import of it into itself makes one first" in str(refused.value)) is whole


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def test_every_weight_has_the_name_that_keras_gives_it(model, saved):
    opened, expected = checkpoint.open(saved), account(model)
    assert set(opened) == set(expected)
    assert all(tensor.read().tobytes() == expected[name].tobytes() for name, tensor in opened.items())


def test_only_another_files_copy_leaves_out_the_optimizer(saved):
    source = checkpoint.open(saved)
    assert plan_convert(source, "keras").notes == ()
    assert "skipped" in plan_convert(source, "keras", how=Writing(like=saved)).notes[0]


def test_keras_loads_an_edited_copy(model, saved, tmp_path):
    import keras

    source = checkpoint.open(saved)
    halves = {name: Tensor.of(name, tensor.read() / 2) for name, tensor in source.items()}
    checkpoint.save(Checkpoint(halves, source.path), tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    expected = [np.asarray(v) / 2 for v in model.weights if "seed" not in v.path]
    found = [np.asarray(v) for v in loaded.weights if "seed" not in v.path]
    assert [v.tolist() for v in found] == [v.tolist() for v in expected]
    slots = zip(model.optimizer.variables, loaded.optimizer.variables, strict=True)
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in slots)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(tmp_path / "half.keras") as new:
        assert old.namelist() == new.namelist()
        for name in ("config.json", "metadata.json"):
            assert old.read(name) == new.read(name)


def test_weights_of_an_archive_by_themselves(model, saved, tmp_path):
    checkpoint.save(checkpoint.open(saved), tmp_path / "w.weights.h5")
    model.load_weights(tmp_path / "w.weights.h5")
    assert set(checkpoint.open(tmp_path / "w.weights.h5")) == set(account(model))


def test_layers_are_renamed_in_the_configuration_too(tmp_path):
    import keras

    keras.utils.set_random_seed(1)
    first, second = keras.Input((6,), name="first"), keras.Input((6,), name="second")
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, name="deep")], name="inner")
    shared = keras.layers.Dense(4, "relu", name="shared")
    joined = keras.layers.Concatenate()([inner(shared(first)), inner(shared(second))])
    named = {
        "classes": keras.layers.Dense(3, name="classes")(joined),
        "size": keras.layers.Dense(1, name="size")(joined),
    }
    net = keras.Model([first, second], list(named.values()))
    net.compile("adam", loss={"classes": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "size": "mse"})
    rows, labels = [np.ones((8, 6), "float32"), np.eye(8, 6, dtype="float32")], [np.arange(8) % 3, np.ones((8, 1))]
    net.run_eagerly = True  # one step does not justify compiling a graph
    net.fit(rows, labels, verbose=0)
    net.save(tmp_path / "net.keras")

    names = {"shared": "common", "inner/deep": "inner/deeper", "classes": "kinds"}
    checkpoint.save(checkpoint.open(tmp_path / "net.keras").rename(names), tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")

    assert [weight.path for weight in loaded.weights][::2] == [
        "common/kernel",
        "deeper/kernel",
        "kinds/kernel",
        "size/kernel",
    ]
    for found, expected in zip(loaded(rows), net(rows), strict=True):
        np.testing.assert_array_equal(found, expected)
    loaded.run_eagerly = True
    assert np.isfinite(loaded.fit(rows, labels, verbose=0).history["loss"]).all()
    with pytest.raises(PlanError, match="the layer shared cannot be inner: its configuration has a layer of that name"):
        checkpoint.save(checkpoint.open(tmp_path / "net.keras").rename({"shared": "inner"}), tmp_path / "other.keras")
    assert not (tmp_path / "other.keras").exists()


def test_a_vocabulary_is_copied(tmp_path):
    from ckpttool.runtime.configure import tensorflow

    tensorflow()
    import keras

    words = keras.layers.StringLookup(vocabulary=["one", "two"], name="words")
    model = keras.Sequential([keras.Input((1,), dtype="string"), words, keras.layers.Embedding(3, 2, name="vectors")])
    model.save(tmp_path / "m.keras")
    checkpoint.save(checkpoint.open(tmp_path / "m.keras").cast("float16"), tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    assert loaded.get_layer("words").get_vocabulary() == ["[UNK]", "one", "two"]
    assert np.allclose(loaded.get_layer("vectors").get_weights()[0], model.layers[1].get_weights()[0], atol=1e-3)


def hand_made(folder, *members):
    weights = weights_file(folder / "w.weights.h5", tensors_of(**{"hidden1/kernel": KERNEL}))
    return archive(folder / "m.keras", weights, *members)


def test_names_of_keras_2_15(tmp_path):
    """It wrote no names: the groups' keys replace them."""
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file.create_group("vars")
        for path in ("layers/dense/vars/0", "layers/dense_1/vars/0", "layers/dense_1/vars/1", "metrics/mean/vars/0"):
            file[path] = KERNEL
        file.create_group("layers/dropout/vars")
    opened = checkpoint.open(archive(tmp_path / "m.keras", tmp_path / "w.weights.h5"))
    assert list(opened) == ["dense/kernel", "dense_1/kernel", "dense_1/bias"]
    assert opened.left_out == ("metrics/mean/vars/0",)
    with pytest.raises(PlanError, match="stores no name of the layer dense that could become first"):
        checkpoint.save(opened.rename({"dense": "first"}), tmp_path / "new.weights.h5")


def test_a_configuration_is_bytes(tmp_path, monkeypatch):
    """Lambdas, layers of any module, calls: nothing in it is parsed, and it is copied unchanged."""
    monkeypatch.chdir(tmp_path)
    canary = "open('canary', 'w')"
    layer = {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"code": canary}}}}
    config = json.dumps({"module": "os", "class_name": "system", "config": "touch canary", "layers": [layer]}).encode()
    path = hand_made(tmp_path)
    path.write_bytes(rezipped(path, lambda name, content: config if name == "config.json" else content))
    opened = checkpoint.open(path)
    assert opened["hidden1/kernel"].read().tolist() == np.zeros((2, 3)).tolist()
    checkpoint.save(opened, tmp_path / "copy.keras")
    with zipfile.ZipFile(tmp_path / "copy.keras") as copy:
        assert copy.read("config.json") == config
    assert not (tmp_path / "canary").exists()


def rezipped(path, change, compression=zipfile.ZIP_STORED):
    """The bytes of an archive with changed members."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", compression) as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))
    return out.getvalue()


def test_packed_weights_are_unpacked_to_be_read(tmp_path):
    path = hand_made(tmp_path)
    path.write_bytes(rezipped(path, lambda name, content: content, zipfile.ZIP_DEFLATED))
    tensor = checkpoint.open(path)["hidden1/kernel"]
    assert tensor.read().tolist() == np.zeros((2, 3)).tolist()
    assert b"".join(tensor.pieces()) == bytes(24)
    assert tensor.extent is None
    checkpoint.save(checkpoint.open(path), tmp_path / "copy.keras")
    assert not [item for item in KerasArchive().verify(tmp_path / "copy.keras") if item.problem]


def test_where_the_bytes_lie_in_the_archive(tmp_path):
    source = checkpoint.open(hand_made(tmp_path))
    checkpoint.save(Checkpoint({"hidden1/kernel": Tensor.of("k", KERNEL)}, source.path), tmp_path / "new.keras")
    extent = checkpoint.open(tmp_path / "new.keras")["hidden1/kernel"].extent
    assert extent is not None
    raw = (tmp_path / "new.keras").read_bytes()[extent.offset : extent.offset + extent.nbytes]
    assert raw == KERNEL.tobytes()


@pytest.fixture
def replaced(tmp_path):
    """An archive, and another one that replaces it; their weights are of one size."""
    path, new = hand_made(tmp_path), tmp_path / "new.keras"
    checkpoint.save(Checkpoint({"hidden1/kernel": Tensor.of("k", KERNEL)}, path), new)
    return path, new


def test_an_archive_that_is_replaced_while_it_is_opened_is_the_new_one(replaced, monkeypatch):
    (path, new), whole = replaced, archives.MemberInPlace.require_whole

    def then_replaced(member):
        whole(member)
        if new.exists():
            new.replace(path)

    monkeypatch.setattr(archives.MemberInPlace, "require_whole", then_replaced)
    assert checkpoint.open(path)["hidden1/kernel"].read().tolist() == KERNEL.tolist()


def test_a_member_of_an_archive_that_was_replaced_is_not_damaged(replaced):
    path, new = replaced
    member = archives.MemberInPlace(path, archives.members(path)["model.weights.h5"])
    new.replace(path)
    with pytest.raises(CorruptCheckpoint, match=r"\.keras changed while it was read"):
        member.require_whole()


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "assets/../../x", "a\\..\\b", "C:x"])
def test_a_member_that_leads_away(tmp_path, name):
    with pytest.raises(FormatError, match="is a link, or has a name outside of the archive"):
        checkpoint.open(hand_made(tmp_path, (name, b"x")))


def test_a_member_that_is_a_link(tmp_path):
    link = zipfile.ZipInfo("assets/link")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(FormatError, match="'assets/link' is a link"):
        checkpoint.open(hand_made(tmp_path, (link, b"/etc/passwd")))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tmp_path):
    with pytest.raises(FormatError, match=r"two members are named config\.json"):
        checkpoint.open(hand_made(tmp_path, ("config.json", CONFIG)))


def test_a_member_that_unpacks_to_excess(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "UNPACKED_LIMIT", 1 << 20)
    path = hand_made(tmp_path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("assets/zeros", bytes(2 << 20))
    with pytest.raises(FormatError, match=r"assets/zeros is declared to decompress \d+ bytes to 2097152"):
        checkpoint.open(path)


def test_an_archive_without_weights_that_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as out:
        out.writestr("config.json", CONFIG)
        out.writestr("model.weights.npz", b"x")
    with pytest.raises(FormatError, match=r"has no model\.weights\.h5"):
        checkpoint.open(tmp_path / "m.keras")


def test_weights_that_are_no_hdf5(tmp_path):
    path = hand_made(tmp_path)
    path.write_bytes(rezipped(path, lambda name, content: b"hello" if name.endswith(".h5") else content))
    with pytest.raises(CorruptCheckpoint, match="HDF5 cannot read it"):
        checkpoint.open(path)


@pytest.mark.parametrize("kind", ["external", "virtual", "soft", "storage"])
def test_weights_that_point_out_of_the_archive(tmp_path, monkeypatch, kind):
    """The canary's values are next to the archive, and never in any output."""
    monkeypatch.chdir(tmp_path)
    with h5py.File("secret.h5", "w") as file:
        file["x"] = np.full(3, 42.0, np.float32)
    (tmp_path / "secret.bin").write_bytes(np.full(3, 42.0, np.float32).tobytes())
    weights = weights_file(tmp_path / "w.weights.h5", tensors_of(**{"hidden1/kernel": KERNEL}))
    with h5py.File(weights, "r+") as file:
        group = file["layers/layer_0/vars"]
        if kind == "external":
            group["1"] = h5py.ExternalLink("secret.h5", "/x")
        elif kind == "soft":
            file["away"] = h5py.ExternalLink("secret.h5", "/")
            group["1"] = h5py.SoftLink("/away/x")
        elif kind == "storage":
            group.create_dataset("1", (3,), "f4", external=[("secret.bin", 0, 12)])
        else:
            layout = h5py.VirtualLayout((3,), "f4")
            layout[:] = h5py.VirtualSource("secret.h5", "x", (3,))
            group.create_virtual_dataset("1", layout)
    with pytest.raises(FormatError) as refused:
        checkpoint.open(archive(tmp_path / "m.keras", weights))
    assert "42" not in str(refused.value)


def test_damage_of_a_member_is_named(tmp_path):
    path = hand_made(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"Functional"', b'"functional"'))
    problems = {item.name: item.problem for item in registry.find(path).verify(path)}
    assert [name for name, problem in problems.items() if problem] == ["config.json"]
    with pytest.raises(CorruptCheckpoint, match=r"config\.json is damaged"):
        checkpoint.open(path)


@pytest.mark.parametrize(
    ("old", "new", "damaged"),
    [(b'"Functional"', b'"functional"', r"config\.json"), (b"one two", b"one six", r"assets/words\.txt")],
)
def test_a_copy_of_which_a_member_reads_back_differently_is_not_kept(tmp_path, monkeypatch, old, new, damaged):
    source = checkpoint.open(hand_made(tmp_path, ("assets/words.txt", b"one two")))
    before = sorted(tmp_path.iterdir())
    change_on_disk(monkeypatch, old, new)
    with pytest.raises(CorruptCheckpoint, match=f"{damaged} is damaged"):
        checkpoint.save(source, tmp_path / "new.keras")
    assert sorted(tmp_path.iterdir()) == before


def test_a_copy_of_something_else(tmp_path):
    weights = weights_file(tmp_path / "w.weights.h5", tensors_of(**{"hidden1/kernel": KERNEL}))
    with pytest.raises(PlanError, match=r"w\.weights\.h5 is not a \.keras archive.*`like`"):
        checkpoint.save(checkpoint.open(weights), tmp_path / "new.keras")
    with pytest.raises(MissingFile, match=r"gone\.keras is missing"):
        checkpoint.save(checkpoint.open(weights), tmp_path / "new.keras", how=Writing(like=tmp_path / "gone.keras"))


def test_weights_are_in_the_order_of_the_network(tmp_path):
    """The weights file sorts them by class; also for nested models, and if a class has the place of another."""
    import keras

    layers = keras.layers
    inner = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Conv2D(1, 2, name="z"), layers.BatchNormalization(name="y")], name="inner"
    )
    inputs = keras.Input((4, 4, 1))
    outputs = layers.Conv2D(1, 1, name="last")(inner(layers.BatchNormalization(name="first")(inputs)))
    keras.Model(inputs, layers.Dense(1, name="a")(outputs)).save(tmp_path / "m.keras")
    found = checkpoint.open(tmp_path / "m.keras")
    scopes = list(dict.fromkeys(name.rpartition("/")[0] for name in found))
    assert scopes == ["first", "inner/z", "inner/y", "last", "a"]


@pytest.mark.parametrize("config", [b"", b"\xff", b"[" * 100_000, b'{"config": {"name": []}}', b'{"config": 3}'])
def test_a_configuration_that_says_nothing_leaves_the_order(tmp_path, config):
    weights = weights_file(tmp_path / "w.weights.h5", tensors_of(b=KERNEL, a=KERNEL))
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
        file.writestr("config.json", config)
        file.write(weights, "model.weights.h5")
    assert list(checkpoint.open(tmp_path / "m.keras")) == list(checkpoint.open(weights))


def test_layers_without_some_of_their_weights_have_the_names_of_the_others(tmp_path):
    """A batch normalisation without a scale, as in InceptionV3: the configuration shows which weights exist."""
    import keras
    from keras import layers

    x = keras.Input((4, 2))
    h = layers.LayerNormalization(center=False, name="ln")(layers.BatchNormalization(scale=False, name="bn")(x))
    h = layers.Attention(use_scale=True, score_mode="concat", name="attention")([h, h])
    h = layers.ConvLSTM1D(2, 1, name="rnn")(layers.Reshape((4, 1, 2))(layers.RMSNormalization(name="rms")(h)))
    model = keras.Model(x, layers.AdditiveAttention(name="additive")([h, h]))
    model.save(tmp_path / "m.keras")
    assert set(checkpoint.open(tmp_path / "m.keras")) == {variable.path for variable in model.weights}
