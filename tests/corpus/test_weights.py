"""Foreign weights, in HDF5 and archives of every age: listed, read, and compared with h5py."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from ckpttool.checkpoint import open as open_checkpoint
from ckpttool.checkpoint import save
from ckpttool.cli import main
from ckpttool.foreign.rules import Rule
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.verbs.import_weights import plan_import

CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS does not name the folder of real models")
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file() and is_hdf5(path))
COUNTING = CORPUS / "crowd_counting_3frameworks"
BRANCHES = {"1": "3", "2": "2", "3": "1"}


ARCHIVES = sorted(CORPUS.rglob("*.keras"))


def relative(path: Path) -> str:
    return str(path.relative_to(CORPUS))


def datasets(path: Path) -> dict[str, Any]:
    """The datasets that h5py finds, by path."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_dataset_is_a_weight_or_left_out(path: Path) -> None:
    found, expected = open_checkpoint(path), datasets(path)
    assert len(found) + len(found.left_out) == len(expected)
    values = sorted(np.asarray(tensor.read()).tobytes() for tensor in found.values())
    rest = {name: value for name, value in expected.items() if name not in found.left_out}
    assert values == sorted(np.asarray(value).tobytes() for value in rest.values())


def run(command: str, *paths: Path) -> Any:
    result = CliRunner().invoke(main, [command, *map(str, paths), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("path", [*FILES, *ARCHIVES], ids=relative)
def test_every_look_command_takes_it(path: Path) -> None:
    opened = open_checkpoint(path)
    assert [row["name"] for row in run("vars", path)] == list(opened)
    assert len(run("vars", path, Path("--stats"))) == len(opened)
    members = 3 if path in ARCHIVES else 0
    assert run("verify", path)["tensors"] == len(opened) + len(opened.left_out) + members
    assert set(run("diff", path, path)["same"]) == set(opened)


@pytest.mark.parametrize("path", ARCHIVES, ids=relative)
def test_every_archive_holds_what_h5py_reads(path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        archive.extract("model.weights.h5", tmp_path)
    found, expected = open_checkpoint(path), datasets(tmp_path / "model.weights.h5")
    assert len(found) + len(found.left_out) == len(expected)
    values = sorted(tensor.read().tobytes() for tensor in found.values())
    assert values == sorted(value.tobytes() for name, value in expected.items() if name not in found.left_out)


@pytest.mark.parametrize("path", [*FILES, *ARCHIVES], ids=relative)
def test_every_one_is_written_as_a_tree_and_read_back(path: Path, tmp_path: Path) -> None:
    opened = open_checkpoint(path)
    save(opened, tmp_path / "tree.h5")
    written = open_checkpoint(tmp_path / "tree.h5")
    assert set(written) == set(opened)
    assert all(tensor.read().tobytes() == opened[name].read().tobytes() for name, tensor in written.items())


@pytest.mark.parametrize("path", ARCHIVES, ids=relative)
def test_every_archive_is_copied(path: Path, tmp_path: Path) -> None:
    save(open_checkpoint(path), tmp_path / "copy.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "copy.keras") as new:
        assert old.read("config.json") == new.read("config.json")
    assert run("diff", path, tmp_path / "copy.keras")["changed"] == []


def test_names_of_a_keras_2_15_archive() -> None:
    """It has no names: Keras's own keys replace them."""
    found = open_checkpoint(next(CORPUS.glob("keras215_dotkeras/model.keras")))
    assert [name for name in found if "kernel" in name] == ["dense/kernel", "dense_1/kernel", "dense_2/kernel"]
    assert {path.split("/")[0] for path in found.left_out} == {"optimizer", "metrics"}


def test_names_of_a_custom_class() -> None:
    found = open_checkpoint(next(CORPUS.glob("keras3_custom_class/*.keras")))
    assert sorted(found) == ["d_0/kernel", "d_1/kernel", "d_2/kernel", "dense/bias", "dense/kernel"]


def test_names_of_a_keras_2_model() -> None:
    path = next(CORPUS.glob("keras2_face_classification/**/fer2013_mini_XCEPTION*.hdf5"))
    found = open_checkpoint(path)
    assert {"conv2d_1/kernel", "batch_normalization_1/gamma"} <= set(found)
    assert all("optimizer_weights" in left for left in found.left_out)


def test_names_of_a_keras_1_model() -> None:
    names = list(open_checkpoint(next(CORPUS.glob("keras1_music_tagger_th_tf/**/*theano.h5"))))
    assert len(names) == 48
    assert names[:2] == ["bn_0_freq/gamma", "bn_0_freq/beta"]


@pytest.mark.parametrize("kept", ["conv2d_1/kernel", "conv2d_1/bias"])
def test_keras_weights_go_into_a_tensorflow_graph_of_the_same_network(kept: str, tmp_path: Path) -> None:
    """One convolution, whose counterpart in the other network is identified by its shape."""
    weights = open_checkpoint(COUNTING / "keras_modelB" / "weights.h5")
    model = COUNTING / "modelB" / "model.ckpt"
    same = [
        name
        for name, tensor in open_checkpoint(model).items()
        if tensor.shape == weights[kept].shape and "Adam" not in name
    ]
    rules = [Rule(kept, same[0]), *(Rule(name, "") for name in weights if name != kept)]
    planned = plan_import(COUNTING / "keras_modelB" / "weights.h5", model, rules=rules, lenient=True)
    planned.write(tmp_path / "o.ckpt")
    written = open_checkpoint(tmp_path / "o.ckpt")
    assert np.array_equal(written[same[0]].read(), weights[kept].read())
    assert len(written) == len(open_checkpoint(model))
