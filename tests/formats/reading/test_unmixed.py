"""Files that belong together are read again if they were replaced meanwhile, whichever of them is authoritative."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ckpttool.core.errors import CorruptCheckpoint, FormatError
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


def times_read(path: str, meanwhile: Callable[[], None]) -> int:
    """Return how often something is read that is written to during the first time."""
    times = 0

    def read() -> int:
        nonlocal times
        times += 1
        if times == 1:
            meanwhile()
        return times

    assert unmixed(Path(path), read) == times
    return times


@pytest.mark.parametrize(
    ("opened", "replaced"),
    [
        ("x.safetensors", "x.safetensors"),
        ("x.safetensors", "x.safetensors.index.json"),
        ("x", "x.safetensors.index.json"),
        ("x", "x.index"),
        ("x", "x.meta"),
        ("x.index", "x.meta"),
        ("x.data-00000-of-00001", "x.data-00000-of-00001"),
        ("x.data-00000-of-00001", "x.index"),
        ("folder", "folder/checkpoint"),
        ("folder", "folder/saved_model.pb"),
        ("folder", "folder/saved_model.pbtxt"),
        ("folder", "folder/.index"),
        ("folder", "folder/.meta"),
        ("folder", "folder/.metadata"),
    ],
)
def test_which_files_say_what_belongs_together(opened: str, replaced: str) -> None:
    Path("folder").mkdir()
    for there in (True, False):
        Path(replaced).unlink(missing_ok=True)
        if there:
            Path(replaced).write_text("old")
        assert times_read(opened, lambda: replace(replaced)) == 2


def test_a_folder_is_another_one_when_it_is_replaced_and_not_when_something_is_put_into_it() -> None:
    Path("folder").mkdir()
    Path("folder/variables").mkdir()
    Path("folder/variables/variables.index").touch()
    assert times_read("folder", lambda: Path("folder/else").touch()) == 1
    assert times_read("folder", lambda: replace("folder/variables/variables.index")) == 2

    def another() -> None:
        Path("folder").rename("old")
        Path("folder").mkdir()
        Path("old/variables").rename("folder/variables")

    assert times_read("folder", another) == 2


@pytest.mark.parametrize("opened", ["latest", "latest/x", "latest/within/x.safetensors"])
def test_a_link_that_led_elsewhere_meanwhile_is_another_one(opened: str) -> None:
    """Whoever reads may have read both folders, although the link leads to the first again."""
    for name in ("old", "new"):
        Path(name, "within").mkdir(parents=True)
    Path("latest").symlink_to("old")

    def there_and_back() -> None:
        for target in ("new", "old"):
            Path("link").symlink_to(target)
            Path("link").replace("latest")

    assert times_read(opened, there_and_back) == 2


def test_a_file_that_is_written_to_in_its_place_is_another_one() -> None:
    Path("x").write_text("old")
    assert times_read("x", lambda: Path("x").write_text("newer")) == 2  # type: ignore[func-returns-value]
    os.utime("x", ns=(1, 1))
    assert times_read("x", lambda: Path("x").write_text("other")) == 2  # type: ignore[func-returns-value]


def test_an_error_counts_where_nothing_was_replaced_meanwhile() -> None:
    Path("x").write_text("old")
    errors = 0

    def read() -> str:
        nonlocal errors
        if (text := Path("x").read_text()) == "new":
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
    return Path("x").read_text(), Path("x.meta").read_text()


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
