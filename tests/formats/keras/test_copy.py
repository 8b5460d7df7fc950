"""Contents of a file in an edited copy: attributes of groups, layers' names; and tensors without a place in it."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from conformance import tensors_of
from keras_files import weights_file

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError, PlanError
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.format import Writing
from ckpttool.formats.hdf5.tree import read_tree
from ckpttool.formats.hdf5.values import MARK
from ckpttool.formats.keras.copy import attributes_of_copy


@pytest.fixture
def like(tmp_path: Path) -> Path:
    return weights_file(tmp_path / "like.weights.h5", tensors_of(**{"fc/0": np.ones(2, np.float32)}))


def test_a_group_has_the_new_name_where_it_had_one_and_no_other(like: Path, tmp_path: Path) -> None:
    with h5py.File(like, "a") as file:
        file["layers/layer_0"].attrs["color"] = "red"
    source = checkpoint.open(like)
    checkpoint.save(source.rename({"fc": "head"}), tmp_path / "new.weights.h5", how=Writing(like=like))
    with h5py.File(tmp_path / "new.weights.h5") as file:
        assert dict(file["layers/layer_0/vars"].attrs) == {"name": "head"}
        assert dict(file["layers/layer_0"].attrs) == {"color": "red"}
        assert dict(file["vars"].attrs) == {"name": "model"}


def test_the_mark_of_a_dtype_belongs_to_values_and_the_same_text_of_a_group_to_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["w"] = np.zeros(2, np.uint16)
        file["w"].attrs.update({MARK: "bfloat16", "unit": "m"})
        file.create_group("g").attrs.update({MARK: "mine", "unit": "s"})
    kept = attributes_of_copy(read_tree(tmp_path / "x.h5"))
    assert {path: dict(own) for path, own in kept.items() if own} == {
        "w": {"unit": "m"},
        "g": {MARK: "mine", "unit": "s"},
    }


@pytest.mark.parametrize("name", ["fc/1", "body/fc/0", "0", "fc/0/0"])
def test_a_weight_stays_where_it_is_in_its_layer(like: Path, tmp_path: Path, name: str) -> None:
    source = checkpoint.open(like)
    with pytest.raises(PlanError, match=rf"fc/0 cannot be named {name} in .*only its layers can have other names"):
        checkpoint.save(source.rename({"fc/0": name}), tmp_path / "new.weights.h5", how=Writing(like=like))


def test_what_is_no_array_cannot_be_copied(like: Path, tmp_path: Path) -> None:
    with h5py.File(like, "a") as file:
        file["kind"] = np.dtype("f4")
    values = {"fc/0": Tensor(TensorSpec("fc/0", (2,), checkpoint.open(like)["fc/0"].dtype), lambda: np.ones(2, "f4"))}
    with pytest.raises(FormatError, match="kind contains a type of elements, which cannot be copied"):
        checkpoint.save(values, tmp_path / "new.weights.h5", how=Writing(like=like))
    assert not (tmp_path / "new.weights.h5").exists()
