"""Rows that are decoded once: staged rows are used if they are whole, and made again if not."""

import os

import numpy as np
import pytest

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.data import staging
from ckpttool.data.staging import Facts, RowWriter, staged

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Stage rows, and return them, the number of decodings, and the folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "rows.csv").write_text("rows")
    times = []

    def write(folder):
        times.append(folder)
        with RowWriter(folder / "x.npy", (3,), np.float32) as writer:
            writer.append(ROWS)
        return Facts(["a note"])

    def stage():
        arrays, facts = staged([tmp_path / "rows.csv"], {"how": 1}, write)
        (folder,) = (tmp_path / "cache" / "ckpttool" / "rows").iterdir()
        return arrays["x"], facts, len(times), folder

    return stage


def test_they_are_decoded_once(made, caplog):
    for _ in range(2):
        rows, facts, times, _ = made()
        np.testing.assert_array_equal(rows, ROWS)
        assert (facts, times) == (Facts(["a note"]), 1)
    assert caplog.text == ""


def test_rows_that_read_back_differently_are_not_used(made, monkeypatch):
    def then_damaged(path, facts, write=staging.write_json):
        write(path, facts)
        (path.parent / "x.npy").write_bytes((path.parent / "x.npy").read_bytes()[:-1])

    monkeypatch.setattr(staging, "write_json", then_damaged)
    with pytest.raises(CorruptCheckpoint, match="the rows that were written there read back differently"):
        made()


@pytest.mark.parametrize("file", ["x.npy", "facts.json"])
def test_a_flipped_bit_has_them_decoded_again(made, file, caplog):
    *_, folder = made()
    size = (folder / file).stat().st_size
    for times, at in enumerate(range(0, size, max(1, size // 7)), 2):
        data = bytearray((folder / file).read_bytes())
        data[min(at, len(data) - 1)] ^= 4  # a duration may have fewer digits
        (folder / file).write_bytes(data)
        rows, facts, decoded, _ = made()
        np.testing.assert_array_equal(rows, ROWS)
        assert (facts, decoded) == (Facts(["a note"]), times)
        assert "is damaged, or of different bytes or an older version: its rows are decoded again" in caplog.text


def test_a_file_that_is_written_to_again_within_the_clocks_step_is_decoded_again(made, tmp_path):
    made()
    status = (tmp_path / "rows.csv").stat()
    (tmp_path / "rows.csv").write_text("swor")
    os.utime(tmp_path / "rows.csv", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert made()[2] == 2
    assert made()[2] == 2


def test_a_file_that_is_gone_or_new(made):
    *_, folder = made()
    (folder / "more.npy").write_bytes((folder / "x.npy").read_bytes())
    assert made()[2] == 2
    (folder / "x.npy").unlink()
    assert made()[2] == 3


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_killed_run_has_decoded_is_removed_by_the_next(made, tmp_path):
    child = os.fork()
    if not child:
        staged([tmp_path / "rows.csv"], {"how": 1}, lambda folder: os._exit(9))
    os.waitpid(child, 0)
    assert [path.name[:1] for path in (tmp_path / "cache" / "ckpttool" / "rows").iterdir()] == ["."]
    assert made()[2] == 1  # there is no other folder
