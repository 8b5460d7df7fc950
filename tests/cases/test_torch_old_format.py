"""Files of PyTorch before 1.6, of its first releases (a tar), and TorchScript programs."""

import io
import pickle
import struct
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ckpttool


class Scaled(torch.nn.Module):
    """A module whose tensors are a parameter, a buffer, and neither."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([2.0, 3.0]))
        self.register_buffer("shift", torch.tensor([1.0, -1.0]))
        self.plain = torch.tensor([5.0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale + self.shift + self.plain


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), Scaled())


def make(folder: Path) -> None:
    net = network()
    old = {"_use_new_zipfile_serialization": False}
    torch.save(net.state_dict(), folder / "old.pth", **old)
    torch.save({"state_dict": net.state_dict(), "epoch": 2}, folder / "old_nested.pth", **old)
    torch.save(net.state_dict(), folder / "old_4.pth", pickle_protocol=4, **old)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.save(torch.jit.script(net.eval()), folder / "prog.pt")
        torch.jit.save(torch.jit.trace(net, torch.ones(1, 3)), folder / "traced.pt")


def values(path: str) -> dict[str, Any]:
    return {name: tensor.read().tolist() for name, tensor in ckpttool.open(path).items()}


@pytest.mark.parametrize("file", ["old.pth", "old_nested.pth", "old_4.pth", "prog.pt", "traced.pt"])
def test_the_weights_are_read(folder: Path, run: Callable[[str], str], file: str) -> None:
    expected = {name: tensor.tolist() for name, tensor in network().state_dict().items()}
    assert values(file) == expected
    assert list(values(file)) == list(expected)
    assert ": whole" in run(f"ckpttool verify {file}")


@pytest.mark.parametrize(("file", "left_out"), [("prog.pt", "2.plain"), ("traced.pt", "constants")])
def test_an_attribute_of_a_program_is_left_out_and_named(
    folder: Path, run: Callable[[str], str], file: str, left_out: str
) -> None:
    assert f"skipped, as it is not a tensor that is read: {left_out}" in run(f"ckpttool vars {file}")
    assert [entry.partition(" ")[0] for entry in ckpttool.open(file).left_out] == [left_out]


def test_a_frozen_program_has_its_weights_as_constants(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.freeze(torch.jit.load(folder / "prog.pt")), folder / "frozen.pt")
    assert [2.0, 3.0] in values("frozen.pt").values()
    assert all(name.startswith("constants/") for name in values("frozen.pt"))


def test_views_of_one_storage_and_every_dtype(folder: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    state = {"base": base, "row": base[2], "transposed": base.T, "window": base[1:3, 2:5], "empty": torch.zeros(0, 2)}
    state |= {str(dtype): torch.ones(3).to(dtype) for dtype in (torch.half, torch.bfloat16, torch.int8, torch.bool)}
    torch.save(state, folder / "views.pth", _use_new_zipfile_serialization=False)
    assert values("views.pth") == {name: tensor.tolist() for name, tensor in state.items()}


def test_two_in_one_file_and_a_cut_one(folder: Path, run: Callable[..., str]) -> None:
    whole = (folder / "old.pth").read_bytes()
    (folder / "two.pth").write_bytes(whole + whole)
    assert "bytes follow its last storage, such as another checkpoint" in run("ckpttool vars two.pth", 2)
    (folder / "cut.pth").write_bytes(whole[:-4])
    assert "it is truncated" in run("ckpttool vars cut.pth", 2)


class Pickler(pickle.Pickler):
    """Writes tensors by number, as the first PyTorch did."""

    def persistent_id(self, value: Any) -> Any:
        return id(value) if isinstance(value, torch.Tensor) else None


def first_format(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write a tar of PyTorch 0.1: https://github.com/pytorch/pytorch/blob/v0.1.10/torch/serialization.py."""
    roots = {tensor.untyped_storage().data_ptr(): tensor for tensor in state.values()}
    storages, tensors, names = io.BytesIO(), io.BytesIO(), io.BytesIO()
    storages.write(pickle.dumps(len(roots), 2))
    for key, tensor in roots.items():
        whole = tensor.untyped_storage()
        kind = {torch.float32: torch.FloatStorage, torch.int64: torch.LongStorage}[tensor.dtype]
        storages.write(pickle.dumps((key, "cpu", kind), 2))
        storages.write(struct.pack("<q", len(whole) // tensor.element_size()) + bytes(whole))
    storages.write(pickle.dumps([], 2))
    tensors.write(pickle.dumps(len(state), 2))
    for tensor in state.values():
        tensors.write(pickle.dumps((id(tensor), tensor.untyped_storage().data_ptr(), torch.FloatTensor), 2))
        numbers = (*tensor.shape, *tensor.stride(), tensor.storage_offset())
        tensors.write(struct.pack(f"<i4x{len(numbers)}q", tensor.dim(), *numbers))
    Pickler(names, 2).dump(state)
    with tarfile.open(path, "w") as tar:
        for name, file in {"sys_info": io.BytesIO(), "pickle": names, "tensors": tensors, "storages": storages}.items():
            info = tarfile.TarInfo(name)
            info.size = len(file.getvalue())
            tar.addfile(info, io.BytesIO(file.getvalue()))


@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_the_first_format_which_was_a_tar(folder: Path, run: Callable[[str], str]) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {"base": base, "column": base[:, 1], "longs": torch.tensor([1, -2])}
    first_format(state, folder / "first.pth")
    referee = torch.load(folder / "first.pth", weights_only=False)
    assert values("first.pth") == {name: tensor.tolist() for name, tensor in referee.items()}
    assert "3 tensors" in run("ckpttool verify first.pth")
