"""Output by copying: files stay files, links are replaced by their targets, and never lead elsewhere."""

import errno
import os
import shlex
import shutil
import stat
import subprocess
from stat import S_IMODE

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, FormatError, MissingFile
from ckpttool.formats.writing.files import copy_tree, refuse_existing, replacing, replacing_folder


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model" / "assets").mkdir(parents=True)
    (tmp_path / "model" / "assets" / "words.txt").write_text("a b")
    (tmp_path / "secret").write_text("mine")
    return tmp_path / "model"


def test_a_link_inside_becomes_a_file(model, tmp_path):
    (model / "assets" / "again.txt").symlink_to("words.txt")
    copy_tree(model / "assets", tmp_path / "out", model)
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {
        "words.txt": "a b",
        "again.txt": "a b",
    }
    assert not (tmp_path / "out" / "again.txt").is_symlink()


def test_permissions_are_copied_but_not_those_of_the_user_who_copies(model, tmp_path):
    (model / "assets" / "words.txt").chmod(0o6755)
    copy_tree(model / "assets", tmp_path / "out", model)
    assert S_IMODE((tmp_path / "out" / "words.txt").stat().st_mode) == 0o755


@pytest.mark.parametrize("target", ["../../secret", "/etc/passwd", "..", ".", "link"], ids=str)
def test_a_link_out_or_to_a_folder_is_refused(model, tmp_path, target):
    (model / "assets" / "link").symlink_to(target)
    with pytest.raises(FormatError, match=r"link is a link to .*: links to outside of it are not followed; `cp -rL"):
        copy_tree(model / "assets", tmp_path / "out", model)


def test_assets_that_are_a_link_out_are_refused(model, tmp_path):
    (model / "assets.extra").symlink_to(tmp_path)
    with pytest.raises(FormatError, match="is a link to"):
        copy_tree(model / "assets.extra", tmp_path / "out", model)


def test_a_pipe_is_refused_and_not_waited_for(model, tmp_path):
    os.mkfifo(model / "assets" / "pipe")
    with pytest.raises(FormatError, match="neither a file nor a folder"):
        copy_tree(model / "assets", tmp_path / "out", model)


def test_a_file_of_holes_that_would_fill_the_disk_is_refused_before_a_byte_is_copied(model, tmp_path):
    size = shutil.disk_usage(tmp_path).total + (1 << 30)
    os.truncate(model / "assets" / "words.txt", size)
    with pytest.raises(CkptError, match=rf"words\.txt has {size} bytes, but .*out has space for \d+"):
        copy_tree(model / "assets", tmp_path / "out", model)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["none", "none/below", "with a space"])
def test_a_folder_that_does_not_exist_is_created_as_the_message_says(tmp_path, name):
    out = tmp_path / name / "out.npz"
    with pytest.raises(MissingFile, match="does not exist") as caught:
        refuse_existing([out], overwrite=False)
    assert str(caught.value).startswith(f"{out}: the folder {out.parent} does not exist; `mkdir -p ")
    subprocess.run(shlex.split(str(caught.value).split("`")[1]), check=True)
    refuse_existing([out], overwrite=False)


@pytest.mark.parametrize("name", ["file", "file/below", "link"])
def test_what_is_in_the_place_of_a_folder_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    out = tmp_path / name / "out.npz"
    with pytest.raises(MissingFile) as caught:
        refuse_existing([out], overwrite=False)
    assert str(caught.value) == f"{out}: {tmp_path / name.partition('/')[0]} is not a folder"


def test_a_folder_that_replaces_another_has_its_mode_and_its_files_theirs(tmp_path):
    def write(text):
        with replacing_folder(tmp_path / "out") as folder:
            (folder / "inner").mkdir()
            for name in ("config", "inner/weights", *(["new"] if text == "new" else [])):
                (folder / name).write_text(text)

    write("old")
    modes = {"out": 0o700, "out/config": 0o640, "out/inner": 0o750, "out/inner/weights": 0o600}
    for name, mode in modes.items():
        (tmp_path / name).chmod(mode)
    write("new")
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in modes} == modes
    assert [(tmp_path / "out" / name).read_text() for name in ("config", "inner/weights", "new")] == ["new"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_folder_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "mine/letter").write_text("dear")
    (tmp_path / "out").symlink_to(tmp_path / "mine")
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "letter").write_text("new")
    assert not (tmp_path / "out").is_symlink()
    assert [(tmp_path / name / "letter").read_text() for name in ("out", "mine")] == ["new", "dear"]
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["a\0b.npz", "a\ud800b.npz"])
def test_a_name_that_no_file_can_have(tmp_path, name):
    with pytest.raises(CkptError, match="cannot be the name of a file: it contains a null byte"):
        checkpoint.save({"w": np.zeros(2)}, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_disk_that_is_full_when_a_file_is_flushed_is_named_by_the_output(tmp_path, monkeypatch, is_folder):
    flush = os.fsync

    def full(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == is_folder:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught, replacing(tmp_path / "x") as file:
        file.write(b"new")
    assert caught.value.filename == str(tmp_path if is_folder else tmp_path / "x")
