"""Foreign bundles, of TensorFlow 1.0 to 2.15: CKPTTOOL_CORPUS is the folder that contains them."""

import os
from pathlib import Path

import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import MissingFile
from ckpttool.surgery.verify import verify

CORPUS = os.environ.get("CKPTTOOL_CORPUS")
ROOT = Path(CORPUS or "/nowhere")
pytestmark = pytest.mark.skipif(not CORPUS, reason="CKPTTOOL_CORPUS does not name a folder of real checkpoints")

INDEXES = sorted(Path(folder, name) for folder, _, names in os.walk(ROOT) for name in names if name.endswith(".index"))
WITHOUT_DATA = ("broken_index_only_deepconsensus", "broken_missing_shard_t5x", "sonnet_object_ckpts/resnet50")
V1 = [
    *sorted((ROOT / "v1_sugyan_2015_2016").glob("*.ckpt")),
    *ROOT.glob("serving_testdata/**/half_plus_two/00000123/export-00000-of-00001"),
    *ROOT.glob("serving_testdata/**/bad_half_plus_two/00000123/export"),
]


def names(path):
    return str(path.relative_to(ROOT))


def has_no_data(path):
    return any(part in str(path) for part in WITHOUT_DATA)


def test_there_is_a_corpus():
    assert len(INDEXES) > 80
    assert len(V1) > 4


@pytest.mark.parametrize("path", INDEXES, ids=names)
def test_it_opens_lists_and_verifies(path):
    opened = checkpoint.open(path)
    assert opened.specs()
    report = verify(path)
    assert report.tensors == len(opened)
    if has_no_data(path):
        assert all("is missing: the checkpoint's index refers to this data file" in item.why for item in report.damaged)
        assert report.damaged
    else:
        assert report.damaged == ()


@pytest.mark.parametrize("path", [p for p in INDEXES if not has_no_data(p)], ids=names)
def test_it_is_the_same_when_it_is_written_again(path, tmp_path):
    opened = checkpoint.open(path)
    checkpoint.save(opened, tmp_path / "copy")
    again = checkpoint.open(tmp_path / "copy")
    assert again.specs() == opened.specs()
    for name, tensor in opened.items():
        read = tensor.read()
        assert (read.tolist() if read.dtype == object else read.tobytes()) == (
            again[name].read().tolist() if read.dtype == object else again[name].read().tobytes()
        )


def test_a_missing_shard_leaves_the_other_readable():
    opened = checkpoint.open(ROOT / "broken_missing_shard_t5x")
    report = verify(ROOT / "broken_missing_shard_t5x")
    assert (len(opened), len(report.damaged)) == (105, 104)
    with pytest.raises(MissingFile, match=r"model\.ckpt-0\.data-00001-of-00002"):
        opened[report.damaged[0].name].read()


@pytest.mark.parametrize("path", V1, ids=names)
def test_version_1_is_read_and_becomes_a_bundle(path, tmp_path):
    opened, report = checkpoint.open(path), verify(path)
    assert (opened.format, report.tensors, report.damaged) == ("v1", 2, ())
    checkpoint.save(opened, tmp_path / "copy.ckpt")
    copy = checkpoint.open(tmp_path / "copy.ckpt")
    assert copy.specs() == opened.specs()
    assert all(copy[name].read().tobytes() == opened[name].read().tobytes() for name in opened)


def test_half_plus_two_of_version_1():
    folder = ROOT / "serving_testdata/session_bundle/testdata/half_plus_two/00000123"
    values = {name: float(tensor.read()) for name, tensor in checkpoint.open(folder / "export").items()}
    assert values == {"a": 0.5, "b": 2.0}


def test_object_checkpoints_are_named_by_their_variables():
    found = {path: checkpoint.open(path) for path in INDEXES if "sonnet" in str(path) and not has_no_data(path)}
    assert len(found) == 39
    assert {opened.format for opened in found.values()} == {"object"}
    assert not [name for opened in found.values() for name in opened if "/.ATTRIBUTES/" in name]
    mlp = checkpoint.open(ROOT / "sonnet_object_ckpts/mlp_3x4x5_1x3")
    assert [name for name, kind in mlp.kinds().items() if kind == "weight"] == [
        f"mlp/linear_{number}/{part}" for number in range(3) for part in "bw"
    ]


def test_slots_are_named_after_their_variables():
    opened = checkpoint.open(ROOT / "tf_keras_lso_tf22/lso_ckpt_tf2.2")
    kinds = opened.kinds()
    assert {name for name in kinds if kinds[name] == "weight"} == {"sequential/dense/bias", "sequential/dense/kernel"}
    assert {f"sequential/dense/{part}/momentum" for part in ("bias", "kernel")} < {
        name for name in kinds if kinds[name] == "slot"
    }
    folder = ROOT / "scisharp_keras_savedmodels/test/TensorFlowNET.Keras.UnitTest/Assets/lstm_from_sequential"
    assert {"dense/kernel", "dense/kernel/m", "lstm/lstm_cell/kernel/v"} < set(checkpoint.open(folder))


@pytest.mark.parametrize("path", [p for p in INDEXES if p.parent.name == "variables"], ids=names)
def test_a_saved_model_is_copied_with_its_variables(path, tmp_path):
    folder = path.parent.parent
    if not any((folder / name).exists() for name in ("saved_model.pb", "saved_model.pbtxt")):
        assert checkpoint.open(folder).format in ("bundle", "object")  # its graph is not in the corpus
        return
    checkpoint.save(checkpoint.open(folder), tmp_path / "copy", "saved-model")
    report = verify(tmp_path / "copy")
    assert (report.format, report.damaged, report.nbytes) == ("saved-model", (), verify(folder).nbytes)


def test_known_values():
    opened = checkpoint.open(ROOT / "tf2onnx_regression_trio/regression/checkpoint")
    assert float(opened["W"].read()) == pytest.approx(0.21396178)
    assert float(opened["b"].read()) == pytest.approx(1.0495254)
    assert checkpoint.open(ROOT / "ckpt_dl4j_simple_graph/simple_graph")["Variable"].read().tolist() == [2, 4, 6, 8]
