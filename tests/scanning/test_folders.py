"""Folders of other frameworks are scanned: numbers are clean, and anything that acts is found."""

import io
import json
import os
import pickle
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from ckpttool.scanning.walk import scan

FIXTURES = Path(__file__).parents[2] / "fixtures"


class Acts:
    def __reduce__(self) -> Any:
        return os.system, ("echo acted",)


@pytest.mark.parametrize("name", ["flax", "orbax/database", "orbax/folders"])
def test_what_frameworks_wrote_is_clean(name: str) -> None:
    result = scan([FIXTURES / name])
    assert (result.found, result.unread) == ([], [])
    assert result.scanned  # the others are strings


@pytest.mark.parametrize("place", ["params.Dense_0.kernel/c/0/1", "_sharding", "step/c"])
def test_a_pickle_among_chunks_is_found(tmp_path: Path, place: str) -> None:
    folder = shutil.copytree(FIXTURES / "orbax" / "folders", tmp_path / "a")
    (folder / place).write_bytes(pickle.dumps(Acts()))
    (finding,) = scan([folder]).found
    assert (finding.file, finding.severity) == (folder / place, "high")


def test_programs_and_what_nothing_describes_are_no_chunks(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURES / "orbax" / "folders", tmp_path / "a")
    program, alone = folder / "step" / "c", tmp_path / "0"
    program.write_bytes(b"\x7fELF\1\2\3")
    alone.write_bytes(b"\xff\xfe\0\1numbers")
    assert [each.file for each in scan([folder, alone]).unread] == [program, alone]


def test_a_database_that_is_damaged_is_not_clean(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURES / "orbax" / "database", tmp_path / "a")
    file = folder / "manifest.ocdbt"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    (unread,) = scan([folder]).unread
    assert (unread.file, "is damaged" in unread.problem) == (file, True)


def distributed(folder: Path) -> Path:
    """Write a tensor and a number as torch.distributed.checkpoint does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a single process
        dcp.save({"w": torch.ones(2, 3), "step": 7}, checkpoint_id=folder, no_dist=True)
    return folder


def test_a_folder_of_torch_distributed_is_clean(tmp_path: Path) -> None:
    for path, files in ((distributed(tmp_path / "a"), 2), (tmp_path / "a" / "__0_0.distcp", 1)):
        result = scan([path])
        assert (result.found, result.unread, result.scanned) == ([], [], files)


def test_what_acts_in_a_part_of_a_distributed_checkpoint_is_found(tmp_path: Path) -> None:
    part = distributed(tmp_path / "a") / "__0_0.distcp"
    data = part.read_bytes()
    object_ = pickle.dumps(Acts(), 2)
    index = part.with_name(".metadata")
    known = pickle.loads(index.read_bytes())  # noqa: S301 - this test wrote it
    place = next(place for key, place in known.storage_data.items() if key.fqn == "step")
    for kind, raw in {"a pickle": object_, "an archive": archive(object_)}.items():
        place.offset, place.length = len(data), len(raw)
        index.write_bytes(pickle.dumps(known))
        part.write_bytes(data + raw)
        result = scan([tmp_path / "a"])
        assert [(each.file, each.severity) for each in result.found] == [(part, "high")], kind
        assert f"byte {len(data)}" in result.found[0].where
        assert ["are in no part of it" in each.problem for each in result.unread] == [True]


def archive(raw: bytes) -> bytes:
    """Return an archive as written by `torch.save`, with a custom pickle."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as out:
        out.writestr("archive/data.pkl", raw)
        out.writestr("archive/version", "3")
    return held.getvalue()


def test_parts_without_their_index_are_unread(tmp_path: Path) -> None:
    part = distributed(tmp_path / "a") / "__0_0.distcp"
    part.with_name(".metadata").unlink()
    (unread,) = scan([part]).unread
    assert "is not beside it" in unread.problem


@pytest.mark.parametrize("name", ["pytorch_model.bin.index.json", "x.weights.json", "model.safetensors.index.json"])
def test_an_index_means_the_files_that_it_names(tmp_path: Path, name: str) -> None:
    index, shard = tmp_path / name, tmp_path / "one.bin"
    shard.write_bytes(pickle.dumps(Acts()))
    for named in ("one.bin", ["one.bin"]):
        index.write_text(json.dumps({"weight_map": {"w": named, "v": named}}))
        result = scan([index])
        assert [(each.file, each.severity) for each in result.found] == [(shard, "high")]
        assert not result.unread


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"weight_map": {"w": "../two.bin", "v": "three.bin"}}', "leads to 2 files that are not beside it"),
        ('{"weight_map": {"w": 5}}', "it names 5, which is not a file"),
        ('{"weight_map": [1]}', "is not an index of files"),
        ("[" * 100_000, "is not an index of files"),
    ],
)
def test_an_index_that_leads_nowhere_is_not_clean(tmp_path: Path, text: str, said: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text)
    assert any(said in each.problem for each in scan([index]).unread)
