"""Sharded PyTorch checkpoints, as written by Transformers: one index, one folder, nothing outside of it."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.pytorch.format import PyTorch

SHARDS = {
    "pytorch_model-00001-of-00002.bin": {"embed.weight": torch.arange(6.0).reshape(3, 2)},
    "pytorch_model-00002-of-00002.bin": {"head.weight": torch.ones(2), "head.bias": torch.zeros(2)},
}
WEIGHTS = {name: file for file, tensors in SHARDS.items() for name in tensors}


def index(folder, weights):
    path = folder / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 40}, "weight_map": weights}))
    return path


@pytest.fixture
def folder(tmp_path):
    """A folder as on the hub: shards, their index, and other files of a trainer."""
    for name, tensors in SHARDS.items():
        torch.save(tensors, tmp_path / name)
    index(tmp_path, WEIGHTS)
    (tmp_path / "config.json").write_text("{}")
    torch.save({"optimizer": torch.ones(1)}, tmp_path / "training_args.bin")
    return tmp_path


@pytest.mark.parametrize("place", ["", "pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_it_is_opened_by_its_folder_its_name_or_its_index(folder, place):
    opened = checkpoint.open(folder / place)
    assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {
        "embed.weight": [[0, 1], [2, 3], [4, 5]],
        "head.weight": [1, 1],
        "head.bias": [0, 0],
    }
    assert (opened.format, opened.left_out) == ("torch", ())
    assert {item.name: item.problem for item in PyTorch().verify(folder / place)} == dict.fromkeys(WEIGHTS)


def test_a_folder_with_one_file(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    torch.save({"args": torch.ones(2)}, tmp_path / "training_args.bin")
    assert checkpoint.open(tmp_path)["w"].read().tolist() == [1, 1]


def test_of_both_safetensors_is_taken(folder):
    safetensors.torch.save_file({"s": torch.ones(1)}, folder / "model.safetensors")
    assert checkpoint.open(folder).format == "safetensors"


def test_a_folder_with_several_checkpoints(tmp_path):
    for name in ("pytorch_model.bin", "adapter_model.bin"):
        torch.save({"w": torch.ones(2)}, tmp_path / name)
    with pytest.raises(FormatError, match=r"specify one: adapter_model\.bin, pytorch_model\.bin"):
        checkpoint.open(tmp_path)


def test_what_a_file_holds_beside_is_named(folder):
    index(folder, {name: file for name, file in WEIGHTS.items() if name != "head.bias"})
    opened = checkpoint.open(folder)
    assert (len(opened), opened.left_out) == (2, ("pytorch_model-00002-of-00002.bin: head.bias",))


def test_a_tensor_that_is_not_where_it_is_said_to_be(folder):
    with pytest.raises(
        CorruptCheckpoint,
        match=r"w should be in pytorch_model-00001-of-00002\.bin according to the index, which does not",
    ):
        checkpoint.open(index(folder, WEIGHTS | {"w": "pytorch_model-00001-of-00002.bin"}))


def test_a_file_that_is_missing(folder):
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(MissingFile, match="pytorch_model-00002-of-00002"):
        checkpoint.open(folder)


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/passwd", "model.safetensors"])
def test_an_index_does_not_lead_out_of_its_folder_or_format(folder, place):
    with pytest.raises(FormatError, match=r"outside of its folder|is not a bin file"):
        checkpoint.open(index(folder, {"w": place}))


def test_it_converts_to_what_the_package_of_safetensors_reads(folder, tmp_path):
    checkpoint.save(checkpoint.open(folder), tmp_path / "out.safetensors")
    read = safetensors.torch.load_file(tmp_path / "out.safetensors")
    assert np.array_equal(read["embed.weight"].numpy(), np.arange(6.0).reshape(3, 2))
