"""Bundles that others made, of TensorFlow 1.0 to 2.15: CKPTTOOL_CORPUS names the folder that holds them."""

import os
from pathlib import Path

import pytest

from ckpttool import checkpoint
from ckpttool.errors import MissingFile
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
        assert all("is missing: a data file that the checkpoint's index names" in item.why for item in report.damaged)
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


def test_known_values():
    opened = checkpoint.open(ROOT / "tf2onnx_regression_trio/regression/checkpoint")
    assert float(opened["W"].read()) == pytest.approx(0.21396178)
    assert float(opened["b"].read()) == pytest.approx(1.0495254)
    assert checkpoint.open(ROOT / "ckpt_dl4j_simple_graph/simple_graph")["Variable"].read().tolist() == [2, 4, 6, 8]
