"""Attributes of replaced files: whoever could read the old file can read the new one, and nobody else."""

import os
import struct
from types import SimpleNamespace

import pytest

from ckpttool.formats.writing.attributes import copy_attributes, make_stage
from ckpttool.formats.writing.files import replacing

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
OWNER, USER, GROUP, MASK, OTHERS, NOBODY = 1, 2, 4, 16, 32, 0xFFFFFFFF


def access_list(*entries):
    """Return the bytes of an access list, as Linux stores it."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.fixture
def out(tmp_path):
    """An old output."""
    path = tmp_path / "out.npz"
    path.write_bytes(b"old")
    return path


def given(path, name, *entries):
    """Give a file an access list, where the file system has them."""
    try:
        os.setxattr(path, name, access_list(*entries))
    except (AttributeError, OSError):
        pytest.skip("the file system has no access lists")


def overwrite(path):
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_the_access_list_of_a_folder_admits_nobody_to_a_replaced_file(out):
    out.chmod(0o640)
    entries = (OWNER, 7, NOBODY), (USER, 6, 1501), (GROUP, 5, NOBODY), (MASK, 7, NOBODY), (OTHERS, 5, NOBODY)
    given(out.parent, DEFAULT, *entries)
    overwrite(out)
    assert ACCESS not in os.listxattr(out)
    assert out.stat().st_mode & 0o777 == 0o640


def test_the_access_list_of_a_replaced_file_is_kept(out):
    entries = (OWNER, 6, NOBODY), (USER, 4, 1501), (GROUP, 0, NOBODY), (MASK, 4, NOBODY), (OTHERS, 0, NOBODY)
    given(out, ACCESS, *entries)
    overwrite(out)
    assert os.getxattr(out, ACCESS) == access_list(*entries)


def test_a_member_of_the_group_who_is_not_the_owner_keeps_the_group(out, monkeypatch):
    new, asked = out.with_name("new"), []
    new.touch()

    def chown(path, owner, group):
        asked.append((owner, group))
        if owner != -1:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    out.chmod(0o660)
    copy_attributes(out, new)
    assert (-1, out.stat().st_gid) in asked
    assert new.stat().st_mode & 0o777 == 0o660


def test_what_a_group_may_do_is_not_given_to_another_group(out, monkeypatch):
    new = out.with_name("new")
    new.touch()
    group = new.stat().st_gid
    entries = (OWNER, 6, NOBODY), (USER, 4, 1501), (GROUP, 6, NOBODY), (MASK, 6, NOBODY), (OTHERS, 0, NOBODY)
    given(out, ACCESS, *entries)
    real = os.lstat

    def lstat(path, **options):
        status = real(path, **options)
        return os.stat_result((*status[:5], group + 1, *status[6:])) if path == out else status

    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(os, "lstat", lstat)
    copy_attributes(out, new)
    monkeypatch.undo()
    assert ACCESS not in os.listxattr(new)
    assert new.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("mode", "group", "stage"),
    [(0o600, 1, 0o700), (0o640, 0, 0o750), (0o640, 1, 0o700), (0o644, 1, 0o755), (0o664, 1, 0o755), (0o666, 1, 0o777)],
)
def test_a_staging_folder_of_another_group_is_for_those_who_may_read_the_output(out, monkeypatch, mode, group, stage):
    out.chmod(mode)
    folder, status = out.with_name("stage"), os.lstat

    def lstat(path):
        found = status(path)
        return SimpleNamespace(st_mode=found.st_mode, st_gid=found.st_gid + group * (path == out))

    monkeypatch.setattr(os, "lstat", lstat)
    umask = os.umask(0)
    try:
        make_stage(folder, [out])
    finally:
        os.umask(umask)
    assert status(folder).st_mode & 0o777 == stage
