"""Files left by an interrupted run are removed if it has certainly ended, and never otherwise."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.formats.writing import temporary
from ckpttool.formats.writing.files import replacing, replacing_folder, temporary_folder
from ckpttool.formats.writing.temporary import PROC, WriterProcess, sweep, temporary_name

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="without /proc nothing is provable")

ENDED = """
import sys
from pathlib import Path
from ckpttool.formats.writing.temporary import temporary_name
print(temporary_name(Path(sys.argv[1])))
"""


@pytest.fixture
def left_behind(tmp_path: Path) -> Path:
    """Return the files that a process which has ended left in the folder."""
    output = subprocess.check_output([sys.executable, "-c", ENDED, str(tmp_path / "x.index")], text=True)
    path = Path(output.strip())
    path.touch()
    return path


def changed(path: Path, **facts: object) -> Path:
    """Give a file the name that another writer would have used."""
    match = temporary._NAME.fullmatch(path.name)
    assert match is not None
    known = match.groupdict() | facts
    writer = "-".join(str(known[key]) for key in ("host", "boot", "namespace", "pid", "start"))
    return path.rename(path.with_name(f".{known['output']}.ckpttool-{writer}-0a0b.{known['state']}"))


def test_what_a_process_left_that_has_ended_is_removed(tmp_path, left_behind, caplog):
    checkpoint.save({"a": np.ones(1)}, tmp_path / "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.data-00000-of-00001", "x.index"]
    assert f"removed {left_behind}, left behind by an interrupted run" in caplog.text


@pytest.mark.parametrize("write", [replacing, replacing_folder, temporary_folder])
def test_whoever_writes_beside_it_removes_it(tmp_path, left_behind, write):
    with write(tmp_path / "y"):
        assert not left_behind.exists()


def test_what_killed_runs_left_of_an_output_is_found(tmp_path, left_behind):
    others = {"name": {"output": "y"}, "state": {"state": "old"}, "writer": {"pid": os.getpid()}}
    for facts in others.values():
        shutil.copy(left_behind, tmp_path / "copy")
        changed(left_behind, **facts, **({"start": WriterProcess.current().start} if "pid" in facts else {}))
        (tmp_path / "copy").rename(left_behind)
    (tmp_path / "x.index").touch()
    assert len(list(tmp_path.iterdir())) == 5
    assert list(temporary.left_behind(tmp_path / "x.index")) == [left_behind]


def test_a_name_is_temporary_by_its_end_and_its_form(tmp_path):
    name = temporary_name(tmp_path / "x").name
    assert [temporary.is_temporary(each) for each in (name, "x.tmp", name.replace(".tmp", ".old"))] == [
        True,
        False,
        False,
    ]


def test_what_this_process_writes_stays(tmp_path):
    path = temporary_name(tmp_path / "x.index")
    path.touch()
    sweep(tmp_path)
    assert path.exists()


def test_what_a_running_process_writes_stays(tmp_path):
    writes = ENDED + "Path(sys.argv[1]).touch(); sys.stdout.flush(); sys.stdin.read()"
    command = [sys.executable, "-c", writes, str(tmp_path / "x")]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        path = Path(process.stdout.readline().strip())
        path.touch()
        sweep(tmp_path)
        assert path.exists()
        process.communicate()
    sweep(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize(
    "facts",
    [
        {"host": "0a0b0c0d"},
        {"namespace": "0a0b0c0d"},
        {"boot": "0a0b0c0d", "host": "0a0b0c0d"},
        {"boot": "0a0b0c0d", "namespace": "0a0b0c0d"},
        {"host": "0"},
        {"boot": "0"},
        {"namespace": "0"},
        {"start": "0"},
        {"pid": "9" * 30},
    ],
    ids=str,
)
def test_what_somebody_else_may_be_writing_stays(tmp_path, left_behind, facts):
    path = changed(left_behind, **facts)
    sweep(tmp_path)
    assert path.exists()


def test_a_process_that_got_the_number_of_the_writer_is_another(tmp_path, left_behind):
    path = changed(left_behind, pid=os.getpid())
    sweep(tmp_path)
    assert not path.exists()


def test_the_number_of_a_process_that_cannot_be_asked_proves_nothing(tmp_path, left_behind, monkeypatch):
    path = changed(left_behind, pid=os.getpid())
    start = temporary._start
    monkeypatch.setattr(temporary, "_start", lambda pid: None if len(seen) else seen.append(pid) or start(pid))
    seen: list[int] = []
    sweep(tmp_path)
    assert path.exists()


def test_no_process_outlives_the_boot_of_its_host(tmp_path, left_behind, monkeypatch):
    monkeypatch.setattr(temporary, "INITIAL_NAMESPACE", str((PROC / "self/ns/pid").readlink()))
    path = changed(left_behind, boot="0a0b0c0d", pid=os.getpid(), start=WriterProcess.current().start)
    sweep(tmp_path)
    assert not path.exists()


def test_a_container_does_not_know_its_host_from_one_that_is_named_alike(tmp_path, left_behind, monkeypatch):
    monkeypatch.setattr(temporary, "INITIAL_NAMESPACE", "pid:[1]")
    path = changed(left_behind, boot="0a0b0c0d")
    sweep(tmp_path)
    assert path.exists()


def test_without_proc_nothing_is_removed(tmp_path, left_behind, monkeypatch):
    monkeypatch.setattr(temporary, "PROC", tmp_path / "proc")
    sweep(tmp_path)
    assert left_behind.exists()
    assert WriterProcess.current()[1:] == ("0", "0", os.getpid(), "0")


def test_names_of_another_scheme_stay(tmp_path):
    path = tmp_path / ".x.index.ckpttool-999999999-0a0b.tmp"
    path.touch()
    sweep(tmp_path)
    assert path.exists()


def test_a_name_of_any_length_and_script_leaves_room_for_its_mark(tmp_path):
    path = temporary_name(tmp_path / ("重" * 80))
    path.touch()
    assert path.name.startswith(".重")


def test_a_name_that_is_no_text_is_kept(tmp_path):
    for name in (b"o\xff.npz", "größe\n.npz".encode()):
        path = tmp_path / os.fsdecode(name)
        assert temporary.output_of(temporary_name(path)) == path


def test_a_locale_without_the_letters_of_an_output_can_write_it(tmp_path):
    script = """if True:
        import os, sys
        import numpy as np
        from ckpttool import checkpoint
        assert sys.getfilesystemencoding() == "ascii"
        checkpoint.save({"a": np.ones(1)}, os.fsdecode(b"gr\\xc3\\xb6\\xc3\\x9fe.npz"))
    """
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    place = {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **plain, **place}, check=True)
    assert (tmp_path / "größe.npz").exists()


def test_an_old_folder_is_removed_once_its_replacement_is_there(tmp_path, left_behind):
    old = changed(left_behind, state="old", output="model")
    old.unlink(), old.mkdir(), (old / "saved_model.pb").touch()
    sweep(tmp_path)
    assert old.exists()
    with replacing_folder(tmp_path / "model") as new:
        (new / "saved_model.pb").touch()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
