"""Tied weights, as saved by the safetensors package: one is written, both are read."""

import numpy as np
import pytest
import safetensors.torch
import torch

from ckpttool import checkpoint
from ckpttool.formats.format import Writing


class Model(torch.nn.Module):
    def __init__(self, value=0.0):
        super().__init__()
        self.embed, self.head = torch.nn.Embedding(3, 2), torch.nn.Linear(2, 3)
        self.head.weight = self.embed.weight
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(value)


@pytest.fixture
def saved(tmp_path):
    safetensors.torch.save_model(Model(2.0), str(tmp_path / "model.safetensors"))
    return tmp_path / "model.safetensors"


def names_in(path):
    with safetensors.safe_open(path, "pt") as file:
        return sorted(file.keys()), file.metadata()


def write(tensors, path, metadata):
    checkpoint.save(tensors, path, how=Writing(metadata))
    return path


def test_a_tied_weight_is_there_under_both_names(saved):
    assert len(names_in(saved)[0]) == 2
    opened = checkpoint.open(saved)
    assert sorted(opened) == ["embed.weight", "head.bias", "head.weight"]
    assert opened["embed.weight"].read().tolist() == opened["head.weight"].read().tolist() == [[2, 2]] * 3


def test_a_copy_is_loaded_by_the_package(saved, tmp_path):
    opened, model = checkpoint.open(saved), Model()
    copy = write(opened, tmp_path / "copy.safetensors", opened.metadata)
    names, metadata = names_in(copy)
    kept = {key: text for key, text in metadata.items() if key != "ckpttool.lineage"}
    assert (names, kept) == (names_in(saved)[0], {"format": "pt", **names_in(saved)[1]})
    assert safetensors.torch.load_model(model, str(copy)) == (set(), [])
    assert model.head.weight.tolist() == [[2, 2]] * 3


def test_weights_that_are_equal_no_more_are_both_written(saved, tmp_path):
    opened = checkpoint.open(saved)
    changed = {name: tensor.read() for name, tensor in opened.items()} | {"head.weight": np.ones((3, 2), np.float32)}
    names, metadata = names_in(write(changed, tmp_path / "copy.safetensors", opened.metadata))
    assert names == ["embed.weight", "head.bias", "head.weight"]
    assert not metadata


def test_a_name_that_was_dropped_does_not_come_back(saved, tmp_path):
    opened = checkpoint.open(saved)
    (alias,) = opened.metadata
    copy = write(opened.drop(alias.replace(".", r"\.")), tmp_path / "copy.safetensors", opened.metadata)
    assert alias not in checkpoint.open(copy)


def test_ties_of_pytorch_are_written_as_the_package_does(tmp_path):
    torch.save(Model(3.0).state_dict(), tmp_path / "model.pt")
    opened, model = checkpoint.open(tmp_path / "model.pt"), Model()
    copy = write(opened, tmp_path / "copy.safetensors", opened.metadata)
    assert names_in(copy)[0] == ["embed.weight", "head.bias"]
    assert safetensors.torch.load_model(model, str(copy)) == (set(), [])
    assert model.head.weight.tolist() == [[3, 3]] * 3


def test_ties_follow_new_names_and_dtypes(saved, tmp_path):
    opened = checkpoint.open(saved)
    renamed = opened.rename({"embed": "table", "head": "top"}).cast("float64")
    copy = write(renamed, tmp_path / "copy.safetensors", renamed.metadata)
    assert checkpoint.open(copy).ties() == {"top.weight": "table.weight"}
    assert len(names_in(copy)[0]) == 2


def test_a_tie_to_what_is_not_there_is_forgotten(saved, tmp_path):
    opened = checkpoint.open(saved)
    copy = write(opened.drop(r"embed\..*"), tmp_path / "copy.safetensors", opened.metadata)
    assert names_in(copy)[0] == ["head.bias", "head.weight"]
    assert checkpoint.open(copy).ties() == {}


@pytest.mark.parametrize("other", [np.zeros((2, 3), np.float32), np.zeros((3, 2), np.int32)])
def test_the_same_bytes_of_another_shape_or_dtype_are_tied_no_more(tmp_path, other):
    values = {"embed.weight": np.zeros((3, 2), np.float32), "head.weight": other}
    copy = write(values, tmp_path / "copy.safetensors", {"head.weight": "embed.weight"})
    assert names_in(copy)[0] == ["embed.weight", "head.weight"]
    assert checkpoint.open(copy).ties() == {}


def test_what_lies_elsewhere_in_a_file_with_other_numbers_is_tied_no_more(tmp_path):
    values = {"embed.weight": np.zeros((3, 2), np.float32), "head.weight": np.ones((3, 2), np.float32)}
    opened = checkpoint.open(write(values, tmp_path / "both.safetensors", {}))
    copy = write(opened, tmp_path / "copy.safetensors", {"head.weight": "embed.weight"})
    assert checkpoint.open(copy)["head.weight"].read().tolist() == [[1, 1]] * 3
