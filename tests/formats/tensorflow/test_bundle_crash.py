"""Crashes and disk failures while a bundle is written: afterwards there is the old one or the new one."""

import errno
import os

import numpy as np
import pytest
from conformance import before_call, save_as, tensors_of

from ckpttool import checkpoint
from ckpttool.core.errors import MissingFile
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.tensorflow.prefix import record_checkpoint, recorded_checkpoint

OLD, NEW = {"a": [1.0] * 4, "gone": [5.0]}, {"a": [2.0] * 4, "text": [b"x"]}


def arrays(values):
    return tensors_of(**{n: np.array(v, object if isinstance(v[0], bytes) else None) for n, v in values.items()})


def state(prefix):
    """Return the values of the checkpoint, None if there is none; damage fails the test."""
    try:
        opened = checkpoint.open(prefix)
    except MissingFile:
        return None
    return {name: tensor.read().tolist() for name, tensor in opened.items()}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("existing", [pytest.param(False, marks=pytest.mark.slow), True], ids=["fresh", "overwrite"])
def test_a_kill_before_any_call_leaves_the_old_one_or_the_new(tmp_path, existing):
    old = OLD if existing else None
    for number in range(1, 90, 3):  # all of them in `trust/kills.py`; a full disk below fails every call
        folder = tmp_path / str(number)
        folder.mkdir()
        if existing:
            Bundle().save(arrays(OLD), folder / "x")
        child = os.fork()
        if not child:
            with pytest.MonkeyPatch.context() as patch:
                before_call(patch, number, lambda: os._exit(9))
                save_as(Bundle(), arrays(NEW), folder / "x", existing)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert state(folder / "x") in ((old, NEW) if status else (NEW,))
        save_as(Bundle(), arrays(NEW), folder / "x", True)
        assert state(folder / "x") == NEW
        assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]
        if status == 0:
            break
    assert 8 < number < 88


@pytest.mark.parametrize("existing", [False, True], ids=["fresh", "overwrite"])
def test_a_full_disk_leaves_the_old_one_or_the_new(tmp_path, monkeypatch, existing):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    old = OLD if existing else None
    for number in range(1, 90):
        folder = tmp_path / str(number)
        folder.mkdir()
        if existing:
            Bundle().save(arrays(OLD), folder / "x")
        with monkeypatch.context() as patch:
            before_call(patch, number, full)
            try:
                save_as(Bundle(), arrays(NEW), folder / "x", existing)
                failed = False
            except OSError as error:
                failed = error.errno == errno.ENOSPC
        assert state(folder / "x") in ((old, NEW) if failed else (NEW,))
        if not failed:
            break
    assert 8 < number < 89


def test_the_state_file_is_replaced_whole(tmp_path, monkeypatch):
    record_checkpoint(tmp_path, tmp_path / "old")
    for number in range(1, 8):
        with monkeypatch.context() as patch:
            before_call(patch, number, lambda: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
            try:
                record_checkpoint(tmp_path, tmp_path / "new")
                break
            except OSError:
                pass
        assert recorded_checkpoint(tmp_path).name in ("old", "new")
        record_checkpoint(tmp_path, tmp_path / "old")
    assert recorded_checkpoint(tmp_path).name == "new"


def test_an_index_whose_data_is_gone_does_not_get_the_data_of_another(tmp_path):
    Bundle().save(arrays(OLD), tmp_path / "x")
    (tmp_path / "x.data-00000-of-00001").unlink()
    save_as(Bundle(), arrays(NEW), tmp_path / "x", True)
    assert (tmp_path / "x.data-00000-of-00002").exists()
    assert state(tmp_path / "x") == NEW
