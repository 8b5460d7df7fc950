"""A state dict some of whose weights are NumPy arrays, saved by torch.save."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ckpttool

STATE = {
    "fc1.weight": torch.arange(6.0).reshape(2, 3),
    "fc1.bias": np.array([1.0, 2.0], np.float32),
    "fc2.weight": np.asfortranarray(np.arange(4, dtype=">f8").reshape(2, 2)),
    "scale": np.float32(3.5),
}


def make(folder: Path) -> None:
    torch.save({"model": STATE, "stats": np.array([0.5, 0.25])}, folder / "mixed.pth")
    torch.save({name: np.asarray(value) for name, value in STATE.items()}, folder / "all_numpy.pth")


def values(path: str) -> dict[str, Any]:
    return {name: tensor.read().tolist() for name, tensor in ckpttool.open(path).items()}


@pytest.mark.parametrize("file", ["mixed.pth", "all_numpy.pth"])
def test_arrays_are_read(folder: Path, run: Callable[[str], str], file: str) -> None:
    expected = {name: np.asarray(value).tolist() for name, value in STATE.items()}
    assert values(file) == expected
    run(f"ckpttool convert {file} -o out.safetensors")
    assert values("out.safetensors") == expected


def test_what_is_beside_the_model_is_named_and_counted(folder: Path, run: Callable[[str], str]) -> None:
    assert "skipped" in run("ckpttool vars mixed.pth")
    assert "4 tensors (68 bytes) checked: whole; 1 entry skipped: stats" in run("ckpttool verify mixed.pth")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_every_protocol(folder: Path, protocol: int, zipped: bool) -> None:
    torch.save(STATE, folder / "x.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert values("x.pth") == {name: np.asarray(value).tolist() for name, value in STATE.items()}


def test_arrays_of_no_plain_numbers_are_named(folder: Path) -> None:
    odd = {
        "texts": np.array(["a", "b"]),
        "objects": np.array([{}, None], object),
        "records": np.zeros(2, [("x", "f4"), ("y", "i8")]),
        "dates": np.array(["2020-01-01"], "datetime64[D]"),
        "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
    }
    torch.save({"model": {"w": torch.ones(1)} | odd}, folder / "odd.pth")
    assert list(values("odd.pth")) == ["w"]
    assert ckpttool.open("odd.pth").left_out == tuple(odd)


def test_numbers_and_lists_in_a_state_dict_are_named(folder: Path) -> None:
    numbers = {"temperature": 0.07, "steps": 3, "mean": [0.1, 0.2], "name": "net"}
    torch.save({"model": {"w": torch.ones(1)} | numbers, "lr": 0.1}, folder / "numbers.pth")
    opened = ckpttool.open("numbers.pth")
    assert (list(opened), opened.metadata) == (["w"], {"lr": "0.1"})
    assert [entry.partition(" ")[0] for entry in opened.left_out] == list(numbers)
    torch.save({"encoder": {"w": torch.ones(1), "scale": 2.0}, "config": {"a": 1, "b": [2]}}, folder / "parts.pth")
    assert ckpttool.open("parts.pth").left_out == ("encoder/scale (is not a tensor, but 2.0)", "config")
