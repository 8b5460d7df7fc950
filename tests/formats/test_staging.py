"""An output of several files is one commit: before it the old one is whole, after it the new one."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, ExistingOutput
from ckpttool.formats.format import Writing
from ckpttool.formats.writing import staging, system
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.formats.writing.staging import COMMITTED, MANIFEST, destination, reserved, settle, staged
from ckpttool.formats.writing.system import exchange, folder_lock


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(output="x", text="new", beside=(".meta",), overwrite=True, end=None):
    """Write an output of two files or more, as for a model, and run a function before the commit."""

    def check():
        if not overwrite and Path(output).exists():
            raise ExistingOutput(f"{output} exists already")

    def old():
        return [Path(output), *Path().glob(f"{output}.*")]

    with staged(Path(output), check, old) as place:
        for suffix in ("", *beside):
            Path(f"{place}{suffix}").write_text(text)
        if end:
            end(place)


def listing(folder=Path()):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def interrupted_after(function, monkeypatch, **options):
    """Write, and be killed just after the commit."""

    class DiedError(BaseException):
        pass

    def dies(folder):
        if os.path.lexists(folder / COMMITTED):
            raise DiedError

    with monkeypatch.context() as patch, pytest.raises(DiedError):
        patch.setattr(staging, "_finish", dies)
        function(**options)


def test_what_is_staged_is_nowhere_before_the_commit_and_everywhere_after():
    write(text="old", beside=(".meta", ".data-1"))

    def end(place):
        assert listing() == {"x": "old", "x.meta": "old", "x.data-1": "old"}
        assert destination(place) == Path("x")

    write(beside=(".meta", ".data-2"), end=end)
    assert listing() == {"x": "new", "x.meta": "new", "x.data-2": "new"}
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_an_error_leaves_the_old_one_and_names_the_place_that_the_user_knows():
    write(text="old")

    def end(place):
        raise CkptError(f"{place}.meta is bad")

    with pytest.raises(CkptError, match=r"^x\.meta is bad$"):
        write(end=end)
    assert listing() == {"x": "old", "x.meta": "old"}
    assert len(list(Path().iterdir())) == 2


def test_a_full_disk_and_one_that_cannot_be_written_are_named_by_the_output(monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def read_only(self, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    with pytest.raises(OSError, match="No space left on device: 'x'"):
        write(end=full)
    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(OSError, match="Read-only file system: 'x'"):
        write()


def test_what_was_committed_is_finished_by_the_next_reader(monkeypatch):
    write(text="old", beside=(".meta", ".data-1"))
    interrupted_after(write, monkeypatch, beside=(".meta", ".data-2"))
    assert listing() == {"x": "old", "x.meta": "old", "x.data-1": "old"}
    settle(Path("x"))
    assert listing() == {"x": "new", "x.meta": "new", "x.data-2": "new"}
    assert len(list(Path().iterdir())) == 3


def test_what_a_broken_disk_keeps_is_removed_by_the_next_one_unless_another_file_has_its_name(monkeypatch):
    write(text="old", beside=(".data-1", ".data-2"))

    def fails(_):
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fails)
        write(text="new", beside=(".data-3",))
    Path("x.data-2").write_text("another's")  # in place: a new file may get the same inode, too
    settle(Path("x"))
    assert listing() == {"x": "new", "x.data-2": "another's", "x.data-3": "new"}
    assert not os.path.lexists(COMMITTED)


def test_partial_results_go_with_the_commit_of_the_output(monkeypatch):
    def folder(number):
        Path("x.stages").mkdir()
        Path("x.stages/1").write_text(f"{number}")

    def make():
        with staged(Path("x"), lambda: None, lambda: [Path("x")], [Path("x.stages"), Path("x.rounds")]) as place:
            place.write_text("new")

    folder(1)
    make()
    assert [path.name for path in Path().iterdir()] == ["x"]
    folder(2)
    interrupted_after(make, monkeypatch)
    shutil.copytree("x.stages", "another's")
    settle(Path("x"))
    assert sorted(path.name for path in Path().iterdir()) == ["another's", "x"]


def write_parts(text, parts):
    """Write an output whose first file lists the others, as an index does."""

    def old():
        return map(Path, Path("x").read_text().split()[1:]) if Path("x").exists() else []

    with staged(Path("x"), lambda: None, old) as place:
        for name in parts:
            (place.parent / name).write_text(" ".join((text, *parts)))
            staging.sync_folder(place.parent / name)


def test_a_disk_that_lost_names_has_the_old_output_or_the_new_one_and_the_next_leaves_nothing(monkeypatch, tmp_path):
    """The power is cut after each step, with up to two unsynced steps lost."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "trust"))
    from disks import Impossible, Recorder, disks, make

    before, work = tmp_path / "before", tmp_path / "work"
    before.mkdir()
    monkeypatch.chdir(before)
    old, new = ("x", "x.meta", "x.data-1", "x.data-2"), ("x", "x.meta", "x.data-3")
    write_parts("old", old)
    shutil.copytree(before, work)
    monkeypatch.chdir(work)
    with Recorder().active() as recorder:
        write_parts("new", new)
    found = Counter()
    for names, contents in disks(recorder.events, most=2):
        shutil.rmtree(work)
        shutil.copytree(before, work)
        monkeypatch.chdir(work)
        with suppress(Impossible):
            make(work, names, contents)
            settle(Path("x"))
            version, *parts = Path("x").read_text().split()
            assert {Path(name).read_text() for name in parts} == {" ".join((version, *parts))}, names
            write_parts("new", new)
            assert sorted(listing()) == sorted(new), names
            found[version] += 1
    assert found["old"] > 10
    assert found["new"] > 10


def test_what_was_committed_is_finished_by_the_next_writer_who_is_told_that_it_is_there(monkeypatch):
    interrupted_after(write, monkeypatch)
    checkpoint.save({"a": np.ones(1)}, "other.npz")
    assert (Path("x").read_text(), os.path.lexists(COMMITTED)) == ("new", False)
    with pytest.raises(ExistingOutput):
        write(text="newer", overwrite=False)


def test_two_writers_do_not_mix_and_the_last_commit_wins():
    write(text="old")
    write(text="second", end=lambda place: write(text="first", beside=(".meta", ".data-1")))
    assert listing() == {"x": "second", "x.meta": "second"}


def test_a_writer_that_must_not_overwrite_is_refused_where_another_was_quicker():
    with pytest.raises(ExistingOutput):
        write(text="second", overwrite=False, end=lambda place: write(text="first"))
    assert listing() == {"x": "first", "x.meta": "first"}


def test_bundles_of_two_writers_have_data_under_different_names():
    values = {"a": np.arange(3.0)}
    checkpoint.save(values, "x")
    with staged(Path("x"), lambda: None, list) as place:
        checkpoint.save({"a": np.ones(3)}, place)
        checkpoint.save({"a": np.zeros(3)}, "x", overwrite=True)
        theirs, ours = (
            {path.name for path in folder.iterdir() if ".data-" in path.name} for folder in (Path(), place.parent)
        )
        assert theirs.isdisjoint(ours)
    assert checkpoint.open("x")["a"].read().tolist() == [1.0] * 3


def test_a_folder_is_exchanged_with_the_old_one(monkeypatch):
    for text in ("old", "new"):
        with staged(Path("m"), lambda: None, lambda: [Path("m")]) as place:
            place.mkdir()
            (place / "graph").write_text(text)
            Path(f"{place}.lineage").write_text(text)
            if text == "new":
                monkeypatch.setattr(staging, "exchange", lambda *names: False)  # a system without it
    assert (Path("m/graph").read_text(), Path("m.lineage").read_text()) == ("new", "new")
    assert sorted(path.name for path in Path().iterdir()) == ["m", "m.lineage"]


def test_a_system_that_cannot_exchange_folders_needs_a_step_more(monkeypatch):
    monkeypatch.setattr(staging, "exchange", lambda *names: False)

    def folder(text="new"):
        with staged(Path("m"), lambda: None, lambda: [Path("m")]) as place:
            place.mkdir()
            (place / "graph").write_text(text)

    folder("old")
    interrupted_after(folder, monkeypatch)
    assert Path("m/graph").read_text() == "old"
    settle(Path("m"))
    assert Path("m/graph").read_text() == "new"
    assert [path.name for path in Path().iterdir()] == ["m"]


def test_folders_are_exchanged_in_one_step():
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, name).touch()
    assert exchange(Path("a"), Path("b"))
    assert Path("a/b").exists()
    assert Path("b/a").exists()


@pytest.mark.parametrize("limit", [None, 8])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".npz", ".h5"])
def test_what_replaces_a_private_file_is_private(suffix, limit):
    options = Writing(shard_bytes=limit)
    for value in (1.0, 2.0):
        checkpoint.save({"a": np.full(2, value), "b": np.ones(2)}, f"x{suffix}", overwrite=True, how=options)
        modes = {path.name: path.stat().st_mode & 0o777 for path in Path().iterdir()}
        assert set(modes.values()) == ({0o644} if value == 1.0 else {0o600}), modes
        for path in Path().iterdir():
            path.chmod(0o600)


def test_a_link_is_replaced_and_not_followed():
    Path("elsewhere.npz").write_text("mine")
    Path("x.npz").symlink_to("elsewhere.npz")
    checkpoint.save({"a": np.ones(1)}, "x.npz", overwrite=True)
    assert not Path("x.npz").is_symlink()
    assert Path("elsewhere.npz").read_text() == "mine"


@pytest.mark.parametrize("change", ["host", "name", "damage", "missing"])
def test_what_others_left_moves_nothing(monkeypatch, change):
    interrupted_after(write, monkeypatch)
    manifest = Path(COMMITTED, MANIFEST)
    facts = json.loads(manifest.read_bytes().partition(b" ")[2])
    facts |= {"host": {"host": "0a0b0c0d"}, "name": {"gone": {"../mine": [1, 1, 1]}}}.get(change, {})
    text = json.dumps(facts).encode()
    checksum = staging.crc.extend(0, text) if change != "damage" else 0
    manifest.write_bytes(b"%08x %s" % (checksum, text)) if change != "missing" else manifest.unlink()
    with pytest.raises(CorruptCheckpoint, match=COMMITTED):
        checkpoint.open("x")
    assert listing() == {}


def test_a_reader_beside_a_writer_reads_one_version():
    """One process opens graph and weights together, while another replaces them repeatedly."""
    checkpoint.save({name: np.zeros(4) for name in "ab"}, "x.safetensors", how=Writing(shard_bytes=8))
    writes = (
        "import numpy as np; from ckpttool import checkpoint; from ckpttool.formats.format import Writing\n"
        "for value in range(1, 12):\n"
        "    checkpoint.save({n: np.full(4, float(value)) for n in 'ab'}, 'x.safetensors', overwrite=True,"
        " how=Writing(shard_bytes=8))"
    )
    seen = set()
    with subprocess.Popen([sys.executable, "-c", writes]) as process:
        while process.poll() is None:
            values = {float(tensor.read()[0]) for tensor in checkpoint.open("x.safetensors").values()}
            assert len(values) == 1
            seen |= values
    assert process.returncode == 0
    assert len(seen) > 1


def test_a_number_is_reserved_against_an_output_that_is_there_and_writers_beside(monkeypatch):
    def counts(place):
        return [int(path.name.partition("-")[2]) for path in place.parent.glob("x-*")]

    def reserve(place, least=1):
        return reserved(place, counts, least, lambda count: Path(f"{place}-{count}"))

    Path("x-1").touch()
    Path("folder").mkdir()
    Path("folder/x-4").touch()
    with staged(Path("x"), lambda: None, list) as place, staged(Path("x"), lambda: None, list) as other:
        assert [reserve(place), reserve(other), reserve(place, 4)] == [2, 3, 4]
        assert sorted(path.name for path in place.parent.iterdir()) == ["x-2", "x-4"]
        assert reserve(Path("x")) == 5  # which is not created, as nothing is staged
        monkeypatch.setattr(system, "PATIENCE", 0.01)
        with folder_lock(Path()), pytest.raises(CkptError, match="try again later"):
            reserve(place)
        with folder_lock(Path()):
            assert reserve(Path("x")) == 5
    assert sorted(path.name for path in Path().iterdir()) == ["folder", "x-1", "x-2", "x-3", "x-4"]


def test_what_was_committed_counts_as_there_before_its_files_are_moved(monkeypatch):
    interrupted_after(write, monkeypatch)
    with pytest.raises(ExistingOutput, match="x exists already"):
        refuse_existing([Path("x")], overwrite=False)
    assert listing() == {"x": "new", "x.meta": "new"}
    interrupted_after(write, monkeypatch, output="y")
    write("z")
    assert sorted(listing()) == ["x", "x.meta", "y", "y.meta", "z", "z.meta"]


def test_what_cannot_be_moved_is_told(monkeypatch):
    def fails(*where):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    interrupted_after(write, monkeypatch)
    monkeypatch.setattr(staging, "_place", fails)
    with pytest.raises(CorruptCheckpoint, match=r"files could not be moved out of .*: Permission denied; any command"):
        settle(Path("x"))


def test_what_another_process_has_moved_or_removed_stays_so(monkeypatch):
    def folder(text="new"):
        with staged(Path("m"), lambda: None, lambda: [Path("m"), Path("m.old")]) as place:
            place.mkdir()
            (place / "graph").write_text(text)

    folder("old")
    folder("older")
    Path("m.old").touch()
    interrupted_after(folder, monkeypatch)
    Path("m.old").unlink()
    exchange(Path(COMMITTED, "m"), Path("m"))
    settle(Path("m"))
    assert Path("m/graph").read_text() == "new"
    assert [path.name for path in Path().iterdir()] == ["m"]


def test_a_full_disk_is_told_with_the_file_that_did_not_fit():
    def full(place):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{place}.meta")

    with pytest.raises(OSError, match=r"No space left on device: 'x\.meta'"):
        write(end=full)


def test_nobody_else_sees_what_will_replace_a_private_output():
    def is_hidden(place):
        modes.append(place.parent.stat().st_mode & 0o777)

    modes: list[int] = []
    write(end=is_hidden)
    Path("x").chmod(0o600)
    write(end=is_hidden)
    Path("x").chmod(0o640)
    write(end=is_hidden)
    assert modes == [0o755, 0o700, 0o750]


def test_bits_that_are_more_than_permissions_stay_on_folders_alone():
    for path, mode in {"file": 0o4755, "link": None, "folder": 0o2750}.items():
        if mode is None:
            Path(path).symlink_to("file")
        else:
            Path(path).mkdir() if path == "folder" else Path(path).touch()
            Path(path).chmod(mode)
        with staged(Path(path), lambda: None, lambda path=path: [Path(path)]) as place:
            place.mkdir() if path == "folder" else place.touch()
    modes = {path.name: S_IMODE(path.lstat().st_mode) for path in Path().iterdir()}
    assert modes == {"file": 0o755, "link": 0o644, "folder": 0o2750}


def test_each_file_of_an_output_keeps_its_own_mode_and_a_new_one_has_the_main_files():
    write()
    for name, mode in {"x": 0o600, "x.meta": 0o640}.items():
        Path(name).chmod(mode)
    write(beside=(".meta", ".data-1"))
    assert {path.name: S_IMODE(path.stat().st_mode) for path in Path().iterdir()} == {
        **{"x": 0o600, "x.meta": 0o640, "x.data-1": 0o600}
    }
