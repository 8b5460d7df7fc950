"""Pipes and devices in place of files: reported at once, without waiting for a writer."""

import os
import socket

import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, FormatError, MissingFile
from ckpttool.core.plain_files import opened, resolved, special_kind
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.verify import verify


def test_a_file_is_opened(tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    with opened(tmp_path / "x") as file:
        assert file.read() == b"hello"


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, says in (("pipe", "is a pipe, not a file"), ("socket", "is not a file"), ("device", "is a device")):
        with pytest.raises(FormatError, match=says):
            opened(tmp_path / name)
        with pytest.raises(FormatError, match=rf"{name} is a pipe or a device, not a file"):
            checkpoint.open(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_a_name_that_no_file_can_have_is_of_none(tmp_path, name):
    with pytest.raises(MissingFile, match="is missing: not a valid file name"):
        opened(tmp_path / name)
    with pytest.raises(MissingFile):
        checkpoint.open(tmp_path / name)


@pytest.mark.parametrize("is_device", [False, True])
def test_a_bundle_whose_data_is_a_pipe(tmp_path, is_device):
    checkpoint.save({"w": Tensor.of("w", [1.0, 2.0])}, tmp_path / "x.ckpt")
    data = tmp_path / "x.ckpt.data-00000-of-00001"
    data.unlink()
    if is_device:
        data.symlink_to("/dev/zero")
    else:
        os.mkfifo(data)
    with pytest.raises(FormatError, match="not a file"):
        checkpoint.open(tmp_path / "x.ckpt")["w"].read()
    try:
        assert not verify(tmp_path / "x.ckpt").whole
    except FormatError as error:
        assert "not a file" in str(error)


def test_a_link_that_leads_to_itself_leads_where_it_is(tmp_path):
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    assert resolved(tmp_path / "link") == resolved(tmp_path / "file")
    assert resolved(tmp_path / "round").parent == resolved(tmp_path)


@pytest.mark.parametrize("name", ["pipe", "pipe.npz", "socket", "device"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_does_not_replace_what_is_no_file(tmp_path, name, overwrite):
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "device").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    before = sorted(tmp_path.iterdir())
    kind = name.removesuffix(".npz")
    with pytest.raises(CkptError, match=rf"{name} is a {kind}, which no file can replace"):
        checkpoint.save({"w": Tensor.of("w", [1.0, 2.0])}, tmp_path / name, overwrite=overwrite)
    assert sorted(tmp_path.iterdir()) == before


def test_files_and_folders_are_of_no_special_kind(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    assert [special_kind(each) for each in (tmp_path / "x", tmp_path, tmp_path / "none")] == [None] * 3
