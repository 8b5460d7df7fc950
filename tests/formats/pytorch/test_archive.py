"""The zip file of PyTorch: its parts beside the weights, what a check of them finds, and what is too much."""

import os
import zipfile

import pytest
import torch
from torch_files import crafted, pickled, rewritten, saved, values, view

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.pytorch import archive
from ckpttool.formats.pytorch.format import PyTorch


def test_the_constants_of_a_frozen_program_are_its_weights(tmp_path):
    constants = b"\x80\2" + pickled((view(),)) + b"."
    path = crafted(tmp_path, {}, **{"x/constants.pkl": constants, "x/constants/0": bytes(24)})
    assert values(checkpoint.open(path)) == {"constants/0": [[0] * 3] * 2}
    assert [checked.name for checked in PyTorch().verify(path)] == ["constants/0", "data/0"]


def test_constants_that_are_no_tuple_are_damage(tmp_path):
    path = crafted(tmp_path, {"w": view()}, **{"x/constants.pkl": b"\x80\2]."})
    with pytest.raises(CorruptCheckpoint, match=r"x\.pt: its constants are not a tuple"):
        checkpoint.open(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_the_packed_code_of_a_program_lists_what_its_state_dict_has(tmp_path):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kept", torch.ones(1))
            self.aside = torch.ones(2)

        def forward(self, x):
            return x * self.kept + self.aside.sum()

    torch.jit.script(Network()).save(tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as file:
        assert {info.compress_type for info in file.infolist() if "/code/" in info.filename} == {zipfile.ZIP_DEFLATED}
    opened = checkpoint.open(tmp_path / "x.pt")
    assert values(opened) == {"kept": [1]}
    assert opened.left_out == ("aside (is neither a parameter nor a buffer of its module)",)


def test_a_pickle_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    path = crafted(tmp_path, {"w": view()})
    with zipfile.ZipFile(path) as file:
        size = file.getinfo("x/data.pkl").file_size
    monkeypatch.setattr(archive, "PICKLE_LIMIT", size)
    assert list(checkpoint.open(path)) == ["w"]
    monkeypatch.setattr(archive, "PICKLE_LIMIT", size - 1)
    with pytest.raises(CorruptCheckpoint, match=rf"x\.pt: data\.pkl has {size} bytes, at most {size - 1} are read"):
        checkpoint.open(path)


def test_what_holds_no_weights_is_checked_and_named_if_it_is_damaged(tmp_path):
    path = saved(tmp_path / "x.pt", {"w": torch.ones(2), "optimizer": {"m": torch.ones(3)}})
    assert [checked.name for checked in PyTorch().verify(path)] == ["w", "data/1"]
    raw = path.read_bytes()
    for part, name in ((b"3\n", "version"), (torch.ones(3).numpy().tobytes(), "data/1")):
        place = raw.rindex(part, 0, raw.index(b"PK\1\2"))
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        (damaged,) = (checked for checked in PyTorch().verify(path) if checked.problem)
        assert damaged.name == name


def test_a_part_of_a_storage_is_not_read_from_a_file_that_changed_since_it_was_checked(tmp_path):
    path = saved(tmp_path / "x.pt", {"v": torch.zeros(4)[1:]})
    opened = checkpoint.open(path)
    assert opened["v"].read().tolist() == [0] * 3
    os.utime(path, ns=(1, 1))
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        opened["v"].read()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
def test_a_file_is_known_by_its_pickle_and_a_damaged_one_by_its_suffix(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"no zip")
    assert not PyTorch().recognises(path)
    saved(path, {"w": torch.ones(1)})
    assert PyTorch().recognises(path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as out:
        out.writestr("readme", b"")
    assert not PyTorch().recognises((tmp_path / "other.zip").rename(path))
    path.write_bytes(b"PK\3\4 cut")
    assert PyTorch().recognises(path) == (suffix != ".ckpt")


def test_parts_of_a_distributed_checkpoint_are_refused_without_their_index(tmp_path):
    (tmp_path / "model").mkdir()
    part = saved(tmp_path / "model" / "__0_0.distcp", {"w": torch.ones(1)})
    for path, kind in ((part.parent, "a folder"), (part, "a part of a folder")):
        with pytest.raises(FormatError, match=rf"is {kind} of torch\.distributed\.checkpoint, whose index \.metadata"):
            checkpoint.open(path)


def test_texts_of_an_old_file_are_bounded_as_its_pickle_is(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.pt", {"w" * 300: torch.ones(1)}, _use_new_zipfile_serialization=False)
    monkeypatch.setattr(archive, "PICKLE_LIMIT", 300)
    assert len(checkpoint.open(path)) == 1
    monkeypatch.setattr(archive, "PICKLE_LIMIT", 299)
    with pytest.raises(CorruptCheckpoint, match=r"it contains a text of 300 bytes, at most 299 are read"):
        checkpoint.open(path)


def test_a_file_that_is_big_endian_says_so_in_one_of_two_words(tmp_path):
    path = rewritten(crafted(tmp_path, {"w": view()}), tmp_path / "y.pt", {"x/byteorder": b"little"})
    assert values(checkpoint.open(path)) == {"w": [[0] * 3] * 2}
