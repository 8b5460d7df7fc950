"""Weights that others saved, in HDF5 of every age: listed, read, and compared with what h5py reads."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckpttool.checkpoint import open as open_checkpoint
from ckpttool.foreign.rules import Rule
from ckpttool.formats.hdf5_source import is_hdf5
from ckpttool.transfer.import_weights import plan_import

CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS does not name the folder of real models")
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file() and is_hdf5(path))
COUNTING = CORPUS / "crowd_counting_3frameworks"
BRANCHES = {"1": "3", "2": "2", "3": "1"}


def relative(path: Path) -> str:
    return str(path.relative_to(CORPUS))


def datasets(path: Path) -> dict[str, Any]:
    """What h5py finds, by path."""
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
    """One convolution, whose counterpart in the other network is known by its shape."""
    weights = open_checkpoint(COUNTING / "keras_modelB" / "weights.h5")
    model = COUNTING / "modelB" / "model.ckpt"
    same = [
        name
        for name, tensor in open_checkpoint(model).items()
        if tensor.shape == weights[kept].shape and "Adam" not in name
    ]
    rules = [Rule(kept, same[0]), *(Rule(name, "") for name in weights if name != kept)]
    planned = plan_import(COUNTING / "keras_modelB" / "weights.h5", model, rules, lenient=True)
    planned.write(tmp_path / "o.ckpt")
    written = open_checkpoint(tmp_path / "o.ckpt")
    assert np.array_equal(written[same[0]].read(), weights[kept].read())
    assert len(written) == len(open_checkpoint(model))
