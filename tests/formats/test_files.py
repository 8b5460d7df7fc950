"""Output by copying: files stay files, links are replaced by their targets, and never lead elsewhere."""

import errno
import os
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from stat import S_IMODE

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, ExistingOutput, FormatError, MissingFile
from ckpttool.formats.writing import files
from ckpttool.formats.writing.files import (
    copy_tree,
    refuse_existing,
    refuse_existing_folder,
    replacing,
    replacing_folder,
    temporary_folder,
)


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


@pytest.mark.parametrize(("umask", "modes"), [(0o027, (0o640, 0o750)), (0o077, (0o600, 0o700)), (0, (0o644, 0o755))])
def test_copied_permissions_obey_the_umask(model, tmp_path, umask, modes):
    (model / "assets" / "words.txt").chmod(0o644)
    (model / "assets" / "run.sh").touch()
    (model / "assets" / "run.sh").chmod(0o755)
    before = os.umask(umask)
    try:
        copy_tree(model / "assets", tmp_path / "out", model)
    finally:
        os.umask(before)
    assert tuple(S_IMODE((tmp_path / "out" / name).stat().st_mode) for name in ("words.txt", "run.sh")) == modes


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
    modes = {"out": 0o711, "out/config": 0o640, "out/inner": 0o750, "out/inner/weights": 0o600}
    for name, mode in modes.items():
        (tmp_path / name).chmod(mode)
    write("new")
    assert {name: (tmp_path / name).stat().st_mode & 0o777 for name in modes} == modes
    assert [(tmp_path / "out" / name).read_text() for name in ("config", "inner/weights", "new")] == ["new"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_to_a_folder_is_replaced_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "mine/letter").write_text("dear")
    (tmp_path / "mine/letter").chmod(0o600)
    (tmp_path / "out").symlink_to(tmp_path / "mine")
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "letter").write_text("new")
    assert not (tmp_path / "out").is_symlink()
    assert [(tmp_path / name / "letter").read_text() for name in ("out", "mine")] == ["new", "dear"]
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("out", "out/letter", "mine", "mine/letter")]
    assert modes == [0o755, 0o644, 0o700, 0o600]


def test_a_link_that_leads_nowhere_is_part_of_a_folder_like_others(tmp_path):
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "link").symlink_to("nowhere")
    assert (tmp_path / "out/link").is_symlink()


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


def contents(folder):
    """Return the texts of a folder's files, hidden ones too, by path."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in found}


def test_what_no_file_can_replace_is_no_output(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name, why in {
        tmp_path / "folder": "folder is a folder: it cannot be written as a file",
        tmp_path / "pipe": "pipe is a pipe, which no file can replace",
        tmp_path / "pipe.index": "pipe is a pipe, which no file can replace",
        Path("/dev/null"): "/dev/null is a device, which no file can replace: specify the name of a new file",
        Path("/dev/null.meta"): "/dev/null is a device",
        Path("http://127.0.0.1/x"): "is a URL, and outputs are written to local files only",
    }.items():
        for overwrite in (False, True):
            with pytest.raises(CkptError, match=why):
                refuse_existing([tmp_path / "new", name], overwrite)
    refuse_existing([tmp_path / "pipe.npz"], overwrite=False)


@pytest.mark.parametrize("is_link", [False, True])
def test_a_file_that_is_there_is_replaced_only_if_that_is_wanted(tmp_path, is_link):
    (tmp_path / "x").symlink_to("nowhere") if is_link else (tmp_path / "x").touch()
    with pytest.raises(ExistingOutput, match="x exists already; `overwrite` replaces it"):
        refuse_existing([tmp_path / "x"], overwrite=False)
    refuse_existing([tmp_path / "x"], overwrite=True)


def test_only_a_folder_of_the_same_kind_or_an_empty_one_is_replaced(tmp_path):
    def is_ours(folder):
        return (folder / "mark").exists()

    for name in ("ours", "empty", "others", "target"):
        (tmp_path / name).mkdir()
    for name in ("ours/mark", "others/letter", "target/mark", "file"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "dangling").symlink_to("nowhere")
    refuse_existing_folder(tmp_path / "new", False, is_ours)
    for name in ("ours", "empty", "others", "link", "dangling", "file"):
        with pytest.raises(ExistingOutput, match=f"{name} exists already; `overwrite` replaces it"):
            refuse_existing_folder(tmp_path / name, False, is_ours)
    for name in ("ours", "empty"):
        refuse_existing_folder(tmp_path / name, True, is_ours)
    for name in ("others", "link", "dangling", "file"):
        with pytest.raises(CkptError, match=f"{name} is not a folder of this kind, and is not replaced"):
            refuse_existing_folder(tmp_path / name, True, is_ours)
    with pytest.raises(MissingFile, match="does not exist; `mkdir -p"):
        refuse_existing_folder(tmp_path / "none/new", True, is_ours)
    with pytest.raises(CkptError, match="is a URL, and outputs are written to local files only"):
        refuse_existing_folder(Path("http://127.0.0.1/x"), True, is_ours)


def test_a_check_that_fails_leaves_the_old_file_and_sees_all_of_the_new_one(tmp_path):
    (tmp_path / "x").write_text("old")

    def refuse(new):
        assert new.read_text() == "new"
        raise CkptError("no")

    with pytest.raises(CkptError, match="no"), replacing(tmp_path / "x", refuse) as file:
        file.write(b"new")
    assert contents(tmp_path) == {"x": "old"}
    with replacing(tmp_path / "x", lambda new: None, durable=False) as file:
        file.write(b"new")
    assert contents(tmp_path) == {"x": "new"}


def test_a_temporary_folder_is_its_users_alone_and_goes_with_its_block(tmp_path):
    for error in (None, ValueError):
        try:
            with temporary_folder(tmp_path / "x") as folder:
                assert S_IMODE(folder.stat().st_mode) == 0o700
                assert folder.parent == tmp_path
                (folder / "below").mkdir()
                if error:
                    raise error
        except ValueError:
            pass
        assert list(tmp_path.iterdir()) == []


def test_where_folders_cannot_be_exchanged_the_old_one_is_moved_first(tmp_path, monkeypatch):
    def write(text):
        with replacing_folder(tmp_path / "out") as folder:
            (folder / "graph").write_text(text)

    monkeypatch.setattr(files, "exchange", lambda new, old: False)
    for text in ("old", "new"):
        write(text)
    assert contents(tmp_path) == {"out/graph": "new"}
    rename = type(tmp_path).rename

    def fails(path, target):
        if path.suffix == ".tmp":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", fails)
    with pytest.raises(OSError, match="Input/output error"):
        write("newer")
    assert contents(tmp_path) == {"out/graph": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
