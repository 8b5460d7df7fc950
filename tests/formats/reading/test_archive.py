"""Zip archives: a file that contains more than one is rejected, because only the last would be seen."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError


def packed(save: object, *values: object) -> list[bytes]:
    parts = []
    for value in values:
        buffer = io.BytesIO()
        save(value, buffer)  # type: ignore[operator]
        parts.append(buffer.getvalue())
    return parts


def test_two_files_of_torch_in_one(tmp_path: Path) -> None:
    first, second = packed(torch.save, {"a": torch.ones(3)}, {"b": torch.zeros(2)})
    (tmp_path / "two.pt").write_bytes(first + second)
    with pytest.raises(FormatError, match=rf"two\.pt: {len(first)} bytes precede its zip archive"):
        checkpoint.open(tmp_path / "two.pt")
    (tmp_path / "one.pt").write_bytes(second)
    assert list(checkpoint.open(tmp_path / "one.pt")) == ["b"]


def test_two_archives_of_numpy_in_one(tmp_path: Path) -> None:
    parts = packed(lambda value, file: np.savez(file, **value), {"a": np.ones(3)}, {"b": np.zeros(2)})
    (tmp_path / "two.npz").write_bytes(b"".join(parts))
    with pytest.raises(FormatError, match="a file contains one checkpoint"):
        checkpoint.open(tmp_path / "two.npz")


@pytest.mark.filterwarnings("ignore")
def test_a_distributed_checkpoint_without_its_index_is_named(tmp_path: Path) -> None:
    dcp.save({"w": torch.ones(3, 3), "bias": torch.zeros(3)}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    (file,) = (tmp_path / "dcp").glob("*.distcp")
    (tmp_path / "dcp" / ".metadata").unlink()
    with pytest.raises(FormatError, match=r"whose index [.]metadata.* is missing"):
        checkpoint.open(file)
