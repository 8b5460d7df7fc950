import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint, prefix_of
from ckpttool.checkpoint import files as checkpoint_files
from ckpttool.core.errors import (
    CkptError,
    CorruptCheckpoint,
    ExistingOutput,
    FormatError,
    MissingFile,
    PlanError,
    UnknownName,
)
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.prefix import record_checkpoint, recorded_checkpoint

FIXTURES = Path(__file__).parents[1] / "fixtures" / "bundles"


@pytest.fixture
def layers():
    names = ["hidden1/kernel", "hidden1/bias", "hidden2/kernel", "hidden10/kernel", "outputs/bias"]
    return Checkpoint.of({name: np.full(2, i, np.float32) for i, name in enumerate(names)})


def values(ckpt):
    return {name: tensor.read().tolist() for name, tensor in ckpt.items()}


def test_select_takes_whole_components(layers):
    assert list(layers.select("hidden[12]")) == ["hidden1/kernel", "hidden1/bias", "hidden2/kernel"]


def test_drop_is_the_rest(layers):
    assert list(layers.drop("hidden[12]")) == ["hidden10/kernel", "outputs/bias"]


@pytest.mark.parametrize("verb", ["select", "drop"])
def test_a_pattern_that_takes_nothing_is_an_error_with_the_nearest_names(layers, verb):
    with pytest.raises(UnknownName, match=r"'hiden1' matches nothing; nearest: hidden1"):
        getattr(layers, verb)("hiden1")


def test_an_unknown_tensor_is_an_error_with_the_nearest_names(layers):
    with pytest.raises(UnknownName, match=r"no tensor named hidden1/kernal; nearest: hidden1/kernel"):
        layers["hidden1/kernal"]
    assert layers.get("nothing") is None
    assert "nothing" not in layers


def test_rename_with_groups_keeps_what_follows_the_match(layers):
    renamed = layers.rename({"hidden(.)": r"dnn/layer\1", "outputs": "logits"})
    assert list(renamed) == [
        "dnn/layer1/kernel",
        "dnn/layer1/bias",
        "dnn/layer2/kernel",
        "hidden10/kernel",
        "logits/bias",
    ]
    assert renamed["logits/bias"].name == "logits/bias"
    assert values(renamed)["logits/bias"] == [4, 4]
    assert next(iter(layers)) == "hidden1/kernel"


def test_a_name_takes_the_first_rule_that_matches_it(layers):
    renamed = layers.rename({"hidden1/kernel": "first", "hidden1": "h1"})
    assert list(renamed)[:2] == ["first", "h1/bias"]


def test_two_names_may_be_exchanged(layers):
    renamed = layers.rename({"hidden1": "hidden2", "hidden2": "hidden1"})
    assert values(renamed)["hidden2/kernel"] == [0, 0]
    assert values(renamed)["hidden1/kernel"] == [2, 2]


@pytest.mark.parametrize("rules", [{"hidden[12]": "same"}, {"hidden1": "hidden2"}])
def test_a_collision_names_both_sources(layers, rules):
    with pytest.raises(PlanError, match=r"hidden1/kernel and hidden2/kernel would both be named"):
        layers.rename(rules)


def test_a_rule_that_matches_nothing_is_an_error(layers):
    with pytest.raises(UnknownName, match=r"rename: 'hiden2' matches nothing; nearest: hidden2"):
        layers.rename({"hidden1": "h", "hiden2": "x"})


@pytest.mark.parametrize(("pattern", "replacement"), [("hidden(", "x"), ("hidden1", r"\7"), ("hidden1", r"\q")])
def test_a_rule_that_is_none_is_an_error(layers, pattern, replacement):
    with pytest.raises(CkptError, match="is not a re"):
        layers.rename({pattern: replacement})


def test_cast_takes_the_weights_that_are_floats_and_slots_where_asked():
    ckpt = Checkpoint.of(
        {
            "kernel": np.array([1.5, -2.0], np.float32),
            "kernel/Adam": np.array([0.25, 0], np.float32),
            "table": np.array([3], np.int32),
            "names": np.array([b"a"], object),
            "flag": np.array([True]),
            "global_step": np.array(1_000_001, np.int64),
        }
    )
    assert str(ckpt.cast("bfloat16")["kernel/Adam"].dtype) == "float32"
    ckpt = ckpt.cast("bfloat16", slots=True)
    dtypes = {spec.name: str(spec.dtype) for spec in ckpt.specs()}
    assert dtypes == {
        "kernel": "bfloat16",
        "kernel/Adam": "bfloat16",
        "table": "int32",
        "names": "string",
        "flag": "bool",
        "global_step": "int64",
    }
    assert ckpt["kernel"].read().dtype == ml_dtypes.bfloat16
    assert b"".join(ckpt["kernel"].pieces()) == np.array([1.5, -2], ml_dtypes.bfloat16).tobytes()
    assert str(ckpt.cast("bfloat16", "table")["table"].dtype) == "bfloat16"


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([1.0, 1e30]), "float16"),
        (np.array([1.5]), "int32"),
        (np.array([np.nan], np.float32), "int8"),
        (np.array([-1]), "uint8"),
        (np.array([300]), "int8"),
        (np.array([2**63], np.uint64), "int64"),
        (np.array([1e30]), "int64"),
        (np.array([2.0**63]), "int64"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_number_that_does_not_fit_is_an_error(array, dtype):
    ckpt = Checkpoint.of({"kernel": array}).cast(dtype, "kernel")
    with pytest.raises(CkptError, match=f"kernel: .* does not fit into {dtype}"):
        ckpt["kernel"].read()


def test_infinities_and_nan_are_cast_as_they_are():
    ckpt = Checkpoint.of({"k": np.array([np.inf, -np.inf, np.nan])}).cast("float16")
    assert str(ckpt["k"].read().tolist()) == "[inf, -inf, nan]"


@pytest.mark.parametrize(("dtype", "says"), [("float17", "no dtype is named"), ("string", "cannot cast to")])
def test_a_cast_to_what_is_no_number(layers, dtype, says):
    with pytest.raises(CkptError, match=says):
        layers.cast(dtype).specs()


def test_views_of_views_stream_into_another_format(tmp_path):
    source = checkpoint.open(FIXTURES / "adam.ckpt-3")
    view = source.select("hidden1").drop(".*/Adam(_1)?").rename({"hidden(.)": r"layer\1"}).cast("float64")
    checkpoint.save(view, tmp_path / "x.npz")
    back = checkpoint.open(tmp_path / "x.npz")
    assert {name: t.read().tolist() for name, t in back.items()} == {
        "layer1/kernel": source["hidden1/kernel"].read().tolist()
    }
    assert (back.format, back.path) == ("npz", tmp_path / "x.npz")


def test_specs_read_nothing(tmp_path):
    shutil.copy(FIXTURES / "adam.ckpt-3.index", tmp_path / "x.index")
    specs = {spec.name: (spec.shape, str(spec.dtype)) for spec in checkpoint.open(tmp_path / "x").specs()}
    assert specs["hidden1/kernel"] == ((2, 3), "float32")
    assert len(specs) == 6


def test_arrays_are_saved_as_they_are(tmp_path):
    checkpoint.save({"a": np.arange(3), "text": np.array(["ä"])}, tmp_path / "x.ckpt")
    assert values(checkpoint.open(tmp_path / "x.ckpt")) == {"a": [0, 1, 2], "text": ["ä".encode()]}
    with pytest.raises(ExistingOutput, match=r"x\.ckpt\.index exists already"):
        checkpoint.save({"a": np.arange(3)}, tmp_path / "x.ckpt")


def test_the_format_may_be_said(tmp_path):
    checkpoint.save({"a": np.arange(3)}, tmp_path / "weights", format="npz")
    assert checkpoint.open(tmp_path / "weights").format == "npz"
    with pytest.raises(CkptError, match=r"no format is named 'gguv'; known: .*, bundle, v1, safetensors, .*torch, npz"):
        checkpoint.save({}, tmp_path / "y", format="gguv")
    for name in ("y.pt", "y.bin"):
        with pytest.raises(FormatError, match=rf"no format writes \.{name[2:]} files; known suffixes: bundle "):
            checkpoint.save({}, tmp_path / name)
    for name, meant in {"y.safetensor": ".safetensors", "y.keas": ".keras", "y.hdf": ".hdf5"}.items():
        with pytest.raises(FormatError, match=rf"no format writes \{name[1:]} files; .*; nearest: \{meant}$"):
            checkpoint.save({}, tmp_path / name)
        checkpoint.save({"a": np.arange(3)}, tmp_path / name, format="bundle")
    checkpoint.save({"a": np.arange(3)}, tmp_path / "y.ckpt2")


def test_every_path_of_a_checkpoint_opens_it(tmp_path):
    for path in FIXTURES.glob("adam.ckpt-3.*"):
        shutil.copy(path, tmp_path)
    record_checkpoint(tmp_path, tmp_path / "adam.ckpt-3")
    prefix = tmp_path / "adam.ckpt-3"
    for path in (prefix, *tmp_path.glob("adam.ckpt-3.*"), tmp_path, str(tmp_path) + "/"):
        assert prefix_of(path) == prefix
        assert len(checkpoint.open(path)) == 6


def test_a_saved_model_folder(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(MissingFile, match="SavedModel without variables"):
        checkpoint.open(tmp_path)
    assert prefix_of(tmp_path) == tmp_path / "saved_model.pb"
    checkpoint.save({"w": np.ones(2)}, tmp_path / "variables" / "variables")
    assert prefix_of(tmp_path) == tmp_path / "variables" / "variables"
    assert list(checkpoint.open(tmp_path)) == ["w"]


def test_a_folder_with_one_checkpoint_and_no_state_file(tmp_path):
    checkpoint.save({"w": np.ones(2)}, tmp_path / "a")
    assert prefix_of(tmp_path) == tmp_path / "a"
    checkpoint.save({"w": np.ones(2)}, tmp_path / "b")
    with pytest.raises(MissingFile, match="several checkpoints, specify one: a, b"):
        checkpoint.open(tmp_path)


def test_a_prefix_beside_a_folder_of_its_name(tmp_path):
    checkpoint.save({"w": np.ones(2)}, tmp_path / "x")
    (tmp_path / "x").mkdir()
    assert list(checkpoint.open(tmp_path / "x")) == ["w"]


def test_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(MissingFile, match="is a folder without a checkpoint"):
        checkpoint.open(tmp_path)


def test_nothing_there_suggests_what_is(tmp_path):
    checkpoint.save({"w": np.ones(2)}, tmp_path / "model.ckpt-1000")
    with pytest.raises(
        MissingFile, match=r"model.ckpt-100 is missing: no such model or checkpoint; nearest: model.ckpt-1000"
    ):
        checkpoint.open(tmp_path / "model.ckpt-100")
    with pytest.raises(MissingFile, match="no such model or checkpoint"):
        checkpoint.open(tmp_path / "nowhere" / "x")


@pytest.mark.parametrize("given", ["x.ckpt", "x.ckpt.meta"])
def test_a_graph_without_its_checkpoint_is_said(tmp_path, given):
    (tmp_path / "x.ckpt.meta").write_bytes(b"graph")
    with pytest.raises(MissingFile, match=r"x\.ckpt\.index is missing: there is x\.ckpt\.meta"):
        checkpoint.open(tmp_path / given)


def test_data_without_an_index_is_said(tmp_path):
    (tmp_path / "x.data-00000-of-00001").touch()
    with pytest.raises(MissingFile, match=r"x\.index is missing: there is x\.data-00000-of-00001"):
        checkpoint.open(tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n", b"PK\3\4nonsense"])
def test_a_file_that_is_no_checkpoint(tmp_path, content):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(FormatError, match=r"x\.bin is not a checkpoint \(.*, bundle, v1, safetensors, .*torch, npz"):
        checkpoint.open(tmp_path / "x.bin")


class TestStateFile:
    def state(self, folder, path):
        (folder / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')

    def test_the_latest(self, tmp_path):
        checkpoint.save({"w": np.ones(2)}, tmp_path / "a")
        checkpoint.save({"w": np.ones(3)}, tmp_path / "b")
        self.state(tmp_path, "b")
        assert checkpoint.open(tmp_path)["w"].shape == (3,)

    def test_a_folder_that_was_moved(self, tmp_path):
        checkpoint.save({"w": np.ones(2)}, tmp_path / "a")
        self.state(tmp_path, "/home/someone/models/a")
        assert recorded_checkpoint(tmp_path) == tmp_path / "a"

    @pytest.mark.parametrize("path", ["../out", "/etc/passwd", "sub/../../out", "..", "/", "a\\000b"])
    def test_it_does_not_lead_out(self, tmp_path, path):
        (tmp_path / "in").mkdir()
        checkpoint.save({"secret": np.ones(2)}, tmp_path / "out")
        self.state(tmp_path / "in", path)
        with pytest.raises(CkptError):
            checkpoint.open(tmp_path / "in")

    def test_a_link_does_not_lead_out_either(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "outside").mkdir()
        (tmp_path / "in" / "link").symlink_to(tmp_path / "outside")
        checkpoint.save({"secret": np.ones(2)}, tmp_path / "outside" / "x")
        self.state(tmp_path / "in", "link/x")
        with pytest.raises(FormatError, match="outside of its folder"):
            checkpoint.open(tmp_path / "in")

    def test_stars_are_only_stars(self, tmp_path):
        checkpoint.save({"w": np.ones(2)}, tmp_path / "abc")
        self.state(tmp_path, "a*")
        with pytest.raises(MissingFile, match=r"a\*"):
            checkpoint.open(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"what: is this", b"\xff\xfe", b'model_checkpoint_path: "'])
    def test_one_that_is_none(self, tmp_path, content):
        (tmp_path / "checkpoint").write_bytes(content)
        with pytest.raises(CorruptCheckpoint, match="checkpoint"):
            checkpoint.open(tmp_path)


def test_a_tensor_keeps_the_name_it_has_in_the_mapping(tmp_path):
    checkpoint.save({"new": Tensor.of("old", np.ones(2))}, tmp_path / "x")
    assert checkpoint.open(tmp_path / "x")["new"].name == "new"


def test_asking_for_what_is_not_there_suggests_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = Checkpoint.of({"hidden1/kernel": np.zeros(3)})
    monkeypatch.setattr("ckpttool.checkpoint.named_tensors.suggestion", None)  # it compares the name with all others

    assert tensors.get("hidden1/kernel/Momentum") is None
    assert tensors.get("hidden1/bias", 7) == 7
    assert tensors.get("hidden1/kernel") is tensors["hidden1/kernel"]


def test_too_many_edits_for_one_pass_are_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    edited = checkpoint.Checkpoint.of({"w": np.ones(3, np.float32)})
    for _ in range(1000):
        edited = edited.scale("w", 1.0)
    with pytest.raises(PlanError, match=r"x\.npz: too many edits of one tensor follow one another"):
        checkpoint.save(edited, tmp_path / "x.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_replaced_before_its_name_is_known_is_opened_again(tmp_path, monkeypatch):
    folder = tmp_path / "model"

    def write(number):
        folder.mkdir()
        checkpoint.save({"w": np.full(3, number, np.float32)}, folder / "model.safetensors")

    def replaced_meanwhile(path):
        monkeypatch.setattr(checkpoint_files, "prefix_of", prefix_of)
        folder.rename(tmp_path / "old")
        write(2)
        raise MissingFile(f"{path} is a folder without a checkpoint")  # which it is while the old one is removed

    write(1)
    monkeypatch.setattr(checkpoint_files, "prefix_of", replaced_meanwhile)
    assert checkpoint.open(folder)["w"].read().tolist() == [2, 2, 2]
