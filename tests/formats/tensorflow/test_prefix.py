"""Which checkpoint a path selects: a prefix, one of its files, a folder, and a folder's record of its latest."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance import tensors_of

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.tensorflow import prefix as prefixes
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.tensorflow.folder import FolderCheckpoint, checkpoints_in, latest_checkpoint
from ckpttool.formats.tensorflow.prefix import (
    BundleFiles,
    prefix_of,
    record_checkpoint,
    recorded_checkpoint,
)
from ckpttool.formats.writing import staging

HERE = Path()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def saved(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Bundle().save(tensors_of(w=[1.0]), Path(name))


def noted(path: str, folder: Path = HERE) -> None:
    (folder / "checkpoint").write_text(f'model_checkpoint_path: "{path}"\n')


def test_a_prefix_that_ends_in_a_slash_is_that_where_there_is_no_other() -> None:
    made("x/.index")
    assert BundleFiles.of(Path("x")).index == Path("x/.index")
    made("x.index")
    assert BundleFiles.of(Path("x")).index == Path("x.index")
    assert BundleFiles.of(Path("y")).index == Path("y.index")


def test_data_files_of_a_prefix_and_no_others() -> None:
    made(
        "a/x.data-00001-of-00002",
        "a/x.data-00000-of-100000",
        "a/x.data-1-of-2",
        "a/xy.data-00000-of-00001",
        "a/x.index",
    )
    found = list(BundleFiles("a/x").shards())
    assert found == [
        (Path("a/x.data-00000-of-100000"), 0, 100_000),
        (Path("a/x.data-00001-of-00002"), 1, 2),
    ]
    assert list(BundleFiles("none/x").shards()) == []


@pytest.mark.parametrize(
    ("there", "given", "prefix"),
    [
        ((), "x", "x"),
        ((), "x.index", "x"),
        ((), "x.meta", "x"),
        ((), "x.data-00003-of-00004", "x"),
        ((), "x-00000-of-00001", "x"),
        ((), "folder/.index", "folder"),
        (("x.meta.index",), "x.meta", "x.meta"),
        (("x.index", "x/y.index"), "x", "x"),
        (("f/.index", "f/checkpoint"), "f", "f"),
        (("f/variables/variables.index", "f/saved_model.pb", "f/a.index"), "f", "f/variables/variables"),
        (("f/saved_model.pb", "f/a.index"), "f", "f/saved_model.pb"),
        (("f/saved_model.pbtxt",), "f", "f/saved_model.pbtxt"),
        (("f/a.index",), "f", "f/a"),
        (("f/x.safetensors",), "f", "f"),
        (("f/a/b.npy",), "f", "f"),
    ],
)
def test_what_a_path_stands_for(there: tuple[str, ...], given: str, prefix: str) -> None:
    made(*there)
    assert prefix_of(given) == Path(prefix)


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (("f/a.index", "f/b.index"), "f contains several checkpoints, specify one: a, b"),
        (("f/a.index", "f/b.index", "f/x.safetensors"), "f contains several checkpoints"),
        (("f/a.txt",), "f is a folder without a checkpoint: no file named checkpoint"),
    ],
)
def test_a_folder_that_stands_for_none(there: tuple[str, ...], says: str) -> None:
    made(*there)
    with pytest.raises(MissingFile, match=says):
        prefix_of("f")


def test_the_latest_is_noted_and_read() -> None:
    saved("f/a", "f/b")
    record_checkpoint(Path("f"), Path("f/a"))
    assert recorded_checkpoint(Path("f")) == prefix_of("f") == Path("f/a")
    noted("b.index", Path("f"))
    assert prefix_of("f") == Path("f/b")


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", "a"),
        ("sub/b", "sub/b"),
        ("sub/../a", "sub/../a"),
        ("gone", "gone"),
        ("sub/a", "a"),
        ("sub/gone", "sub/gone"),
        ("/elsewhere/run/a", "a"),
        ("gs://bucket/run/a", "a"),
        (r"C:\\\\run\\\\a", "a"),
        ("x-?????-of-00002", "x-?????-of-00002"),
        ("/elsewhere/x-?????-of-00002", "x-?????-of-00002"),
    ],
)
def test_a_path_that_is_noted_is_in_the_folder(here: Path, absolute: bool, path: str, found: str) -> None:
    saved("f/a", "f/sub/b")
    made("f/x-00000-of-00002")
    folder = here / "f" if absolute else Path("f")
    noted(path, folder)
    assert recorded_checkpoint(folder) == folder / found


@pytest.mark.parametrize("absolute", [False, True])
def test_a_path_of_here_that_is_noted_whole(here: Path, absolute: bool) -> None:
    saved("f/a", "f/sub/a")
    folder = here / "f" if absolute else Path("f")
    noted(f"{here}/f/sub/a", folder)
    assert recorded_checkpoint(folder).resolve() == here / "f/sub/a"
    assert recorded_checkpoint(folder).is_absolute() is absolute


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (
            'model_checkpoint_path: "../out"',
            FormatError,
            "refers to the checkpoint '../out', which is outside of its folder",
        ),
        ('model_checkpoint_path: "sub/.."', FormatError, "is outside of its folder"),
        ('model_checkpoint_path: ""', CorruptCheckpoint, "f/checkpoint refers to no checkpoint"),
        ("", CorruptCheckpoint, "f/checkpoint refers to no checkpoint"),
        ("hello", CorruptCheckpoint, "f/checkpoint is not a checkpoint state file"),
        ('model_checkpoint_path: "/elsewhere/b"', MissingFile, "refers to /elsewhere/b, but f has no b"),
        ('model_checkpoint_path: "/"', MissingFile, "refers to /, but f has no "),
    ],
)
def test_what_is_noted_and_cannot_be(text: str, error: type[CkptError], says: str) -> None:
    saved("f/a", "out")
    Path("f/sub").mkdir()
    Path("f/checkpoint").write_text(text + "\n")
    with pytest.raises(error, match=says):
        recorded_checkpoint(Path("f"))
    with pytest.raises(MissingFile, match="sub/checkpoint is missing"):
        recorded_checkpoint(Path("f/sub"))


def test_what_is_noted_of_another_place_does_not_lead_to_the_folder_above() -> None:
    saved("f/a")
    made(".index")
    noted("/elsewhere/..", Path("f"))
    with pytest.raises(MissingFile, match=r"refers to /elsewhere/\.\., but f has no \.\."):
        recorded_checkpoint(Path("f"))


def test_of_a_long_note_whole_lines_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    saved("f/a")
    noted("a", Path("f"))
    with Path("f/checkpoint").open("a") as file:
        file.write('all_model_checkpoint_paths: "a"\n' * 3)
    for size in range(27, 40):
        monkeypatch.setattr(prefixes, "_STATE_READ", size)
        assert recorded_checkpoint(Path("f")) == Path("f/a")


def test_checkpoints_by_their_steps() -> None:
    saved("f/m-9", "f/m-10", "f/cp-0002.ckpt", "f/best")
    made("f/x.meta", "f/y.data-00000-of-00001", "f/z.txt")
    noted("m-9", Path("f"))
    found = checkpoints_in(Path("f"))
    assert [(str(each.prefix), each.step) for each in found] == [
        *(("f/best", None), ("f/cp-0002.ckpt", 2), ("f/m-9", 9), ("f/m-10", 10))
    ]
    assert all(each.time is not None for each in found)


@pytest.mark.parametrize("order", [("f/a", "f/b"), ("f/b", "f/a")])
def test_checkpoints_without_steps_by_their_times(order: tuple[str, str]) -> None:
    saved(*order)
    for number, name in enumerate(order):
        os.utime(f"{name}.index", (number, number))
    assert [str(each.prefix) for each in checkpoints_in(Path("f"))] == list(order)


def test_files_of_version_1_are_told_by_their_names_and_bytes() -> None:
    saved("t")
    table = Path("t.index").read_bytes()
    Path("f").mkdir()
    for name in (
        "a-3",
        "b.ckpt",
        "c",
        "d",
        "e-00000-of-00002",
        "e-00001-of-00002",
        "g-5.meta",
        "checkpoint",
    ):
        Path("f", name).write_bytes(table)
    made("f/d.meta", "f/h-4", "f/i.ckpt")
    assert {str(each.prefix) for each in checkpoints_in(Path("f"))} == {"f/a-3", "f/b.ckpt", "f/d", "f/e"}


def test_a_row_says_when() -> None:
    row = FolderCheckpoint(Path("f/a"), 3, 0.0).row()
    assert row == {"prefix": "f/a", "step": 3, "written": "1970-01-01 00:00:00+00:00"}
    assert FolderCheckpoint(Path("f/a"), None, None).row()["written"] is None


@pytest.mark.parametrize(
    ("act", "path", "says"),
    [
        (checkpoints_in, "none", "none: no such folder"),
        (checkpoints_in, "x.index", "x.index: not a folder"),
        (checkpoints_in, "above", "no .index is in it; look in a, b"),
        (checkpoints_in, "empty", "no .index is in it$"),
        (lambda folder: latest_checkpoint(folder, print), "none", "none: no such folder"),
    ],
)
def test_folders_that_have_none(act: Callable[[Path], object], path: str, says: str) -> None:
    saved("x", "above/a/x", "above/b/x")
    Path("empty").mkdir()
    Path("empty/folder.index").mkdir()
    with pytest.raises(MissingFile, match=says):
        act(Path(path))


def test_the_latest_is_what_is_noted_or_the_one_of_most_steps() -> None:
    saved("f/m-1", "f/m-2")
    said: list[str] = []
    assert latest_checkpoint(Path("f"), said.append) == Path("f/m-2")
    noted("m-1", Path("f"))
    assert latest_checkpoint(Path("f"), said.append) == Path("f/m-1")
    noted("m-3", Path("f"))
    assert latest_checkpoint(Path("f"), said.append) == Path("f/m-2")
    assert said == [
        "f/checkpoint is missing; m-2 is the checkpoint with the most steps",
        "f/checkpoint refers to f/m-3, which is missing; m-2 is the checkpoint with the most steps",
    ]
    made("f/x-00000-of-00002")
    noted("x-?????-of-00002", Path("f"))
    assert latest_checkpoint(Path("f"), said.append) == Path("f/x")


def test_what_was_committed_in_a_folder_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    saved("f/m-1", "f/m-2")
    noted("m-1", Path("f"))
    with monkeypatch.context() as patch:
        patch.setattr(staging, "_finish", lambda folder: None)
        with staging.staged(Path("f/checkpoint"), lambda: None, lambda: [Path("f/checkpoint"), Path("f/x")]) as place:
            noted("m-2", place.parent)
            Path(f"{place}.more").touch()
    assert Path("f/checkpoint").read_text() == 'model_checkpoint_path: "m-1"\n'
    assert latest_checkpoint(Path("f"), print) == Path("f/m-2")
