"""Files that belong together are read again if they were replaced meanwhile, whichever of them is authoritative."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpttool.core import seen_files
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import files_below, is_file, names_in, opened
from ckpttool.formats.reading.unmixed import ATTEMPTS, unmixed
from ckpttool.formats.writing import staging
from ckpttool.formats.writing.staging import COMMITTED, staged


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def replace(name: str) -> None:
    Path("new").write_text("new")
    Path("new").replace(name)


def text_of(name: str) -> str:
    with opened(Path(name)) as file:
        return file.read().decode()


def times_read(path: str, look: Callable[[], object], meanwhile: Callable[[], object]) -> int:
    """Return how often something is read that is written to after it was looked at for the first time."""
    times = 0

    def read() -> int:
        nonlocal times
        times += 1
        look()
        if times == 1:
            meanwhile()
        return times

    assert unmixed(Path(path), read) == times
    return times


@pytest.mark.parametrize("name", ["x.safetensors.index.json", "x.index", "folder/checkpoint", "folder/below/.meta"])
@pytest.mark.parametrize("path", ["x", "x.safetensors", "folder"])
def test_what_was_opened_or_looked_for_belongs_together(path: str, name: str) -> None:
    Path("folder/below").mkdir(parents=True)
    assert times_read(path, lambda: is_file(name), lambda: replace(name)) == 2
    assert times_read(path, lambda: is_file(name), lambda: replace(name)) == 2
    assert times_read(path, lambda: text_of(name), lambda: replace(name)) == 2
    assert times_read(path, lambda: is_file(name), Path(name).unlink) == 2
    assert times_read(path, lambda: is_file(name), lambda: replace("other")) == 1


def test_the_path_itself_counts_even_if_another_library_opens_it() -> None:
    Path("x.h5").write_text("old")
    assert times_read("x.h5", lambda: None, lambda: replace("x.h5")) == 2


def test_a_file_that_was_missing_when_it_was_opened_is_read_when_it_is_there() -> None:
    times = 0

    def read() -> str:
        nonlocal times
        times += 1
        try:
            return text_of("x.data")
        finally:
            if times == 1:
                replace("x.data")

    assert (unmixed(Path("x"), read), times) == ("new", 2)
    with pytest.raises(FileNotFoundError):
        unmixed(Path("y"), lambda: text_of("y.data"))


def test_a_folder_is_another_one_when_it_is_replaced_and_not_when_something_is_put_into_it() -> None:
    Path("folder/variables").mkdir(parents=True)
    Path("folder/variables/x").touch()

    def another() -> None:
        Path("folder").rename(f"old{os.urandom(4).hex()}")
        Path("folder/variables").mkdir(parents=True)

    for look in (lambda: names_in(Path("folder")), lambda: list(files_below(Path("folder")))):
        assert times_read("folder", look, lambda: Path("folder/else").touch()) == 1
        assert times_read("folder", look, another) == 2


def exchange_folders() -> None:
    Path("folder").rename("aside")
    Path("other").rename("folder")
    Path("aside").rename("other")


def exchange_links() -> None:
    target = Path("latest").readlink()
    Path("link").symlink_to("other" if target == Path("folder") else "folder")
    Path("link").replace("latest")


@pytest.mark.parametrize(("name", "change"), [("folder", exchange_folders), ("latest", exchange_links)])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_folder_that_was_another_one_for_a_moment(name: str, change: Callable[[], None], place: int) -> None:
    """Before and after the name refers to the same folder, but one of the files was read in the other."""
    for folder in ("folder", "other"):
        Path(folder).mkdir()
        for file in "abc":
            Path(folder, file).write_text(folder)
    Path("latest").symlink_to("folder")
    found = []

    def read() -> list[str]:
        texts = []
        for number, file in enumerate("abc"):
            changing = number == place and not found
            change() if changing else None
            texts.append(text_of(f"{name}/{file}"))
            change() if changing else None
        found.append(texts)
        return texts

    assert unmixed(Path(name), read) == ["folder"] * 3
    assert (found[0].count("other"), len(found)) == (1, 2)


def test_files_are_compared_in_one_folder_even_if_it_is_replaced_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("folder", "other"):
        Path(folder).mkdir()
        for file in "ab":
            Path(folder, file).write_text(folder)
    with seen_files.noted() as seen:
        text_of("folder/a")
        exchange_folders()
        text_of("folder/b")
    exchange_folders()  # only the first file is in this folder, only the second in the other
    status_of = seen_files.status_of

    def changing(path: Path | str, descriptor: int | None = None) -> os.stat_result | None:
        exchange_folders()
        return status_of(path, descriptor)

    monkeypatch.setattr(seen_files, "status_of", changing)
    assert not seen.are_there(Path("folder"))


def test_one_name_of_two_files_is_a_mix_even_if_the_first_is_there_again() -> None:
    Path("x").write_text("old")
    with seen_files.noted() as seen:
        text_of("x")
        Path("x").rename("aside")
        replace("x")
        text_of("x")
        Path("aside").rename("x")
    assert not seen.are_there(Path())


def test_what_is_read_within_another_reading_is_compared_by_that() -> None:
    Path("x").write_text("old")
    inner = 0

    def read() -> str:
        nonlocal inner
        inner += 1
        return text_of("x")

    assert times_read("y", lambda: unmixed(Path("x"), read), lambda: replace("x")) == 2
    assert inner == 2


def test_a_file_that_is_written_to_in_its_place_is_another_one() -> None:
    Path("x").write_text("old")
    assert times_read("x", lambda: None, lambda: Path("x").write_text("newer")) == 2
    os.utime("x", ns=(1, 1))
    assert times_read("x", lambda: None, lambda: Path("x").write_text("other")) == 2


def test_an_error_counts_where_nothing_was_replaced_meanwhile() -> None:
    Path("x").write_text("old")
    errors = 0

    def read() -> str:
        nonlocal errors
        if (text := text_of("x")) == "new":
            return text
        errors += 1
        if errors > 1:
            replace("x")
        raise FormatError("old is bad")

    with pytest.raises(FormatError, match="old is bad"):
        unmixed(Path("x"), read)
    assert (unmixed(Path("x"), read), errors) == ("new", 2)


def test_what_changes_all_the_time_is_given_up() -> None:
    times = 0

    def read() -> None:
        nonlocal times
        times += 1
        replace("x")
        text_of("x")

    with pytest.raises(CorruptCheckpoint, match=rf"x changed while it was read, {ATTEMPTS} times"):
        unmixed(Path("x"), read)
    assert times == ATTEMPTS


@pytest.fixture
def commit(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that writes an output of two files like a process that is killed just after its commit."""

    def write() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(staging, "_finish", lambda folder: None)
            with staged(Path("x"), lambda: None, lambda: [Path("x"), Path("x.meta")]) as place:
                for suffix in ("", ".meta"):
                    Path(f"{place}{suffix}").write_text("new")
        assert Path(COMMITTED).is_dir()

    for suffix in ("", ".meta"):
        Path(f"x{suffix}").write_text("old")
    return write


def read_both() -> tuple[str, str]:
    return text_of("x"), text_of("x.meta")


def test_what_was_committed_counts_before_and_after_the_read(commit: Callable[[], None]) -> None:
    assert unmixed(Path("x"), read_both) == ("old", "old")
    commit()
    assert unmixed(Path("x"), read_both) == ("new", "new")
    replace("x")
    found = []

    def read() -> tuple[str, str]:
        if not found:
            commit()
        found.append(read_both())
        return found[-1]

    for file in ("x", "x.meta"):
        Path(file).write_text("old")
    assert unmixed(Path("x"), read) == ("new", "new")
    assert found == [("old", "old"), ("new", "new")]


def test_and_after_an_error(commit: Callable[[], None]) -> None:
    def read() -> tuple[str, str]:
        if (texts := read_both()) == ("old", "old"):
            commit()
            raise FormatError("old is bad")
        return texts

    assert unmixed(Path("x"), read) == ("new", "new")
