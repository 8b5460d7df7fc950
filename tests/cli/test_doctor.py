"""The doctor: what is installed, what is missing for which feature, and where files are stored."""

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ckpttool import __version__
from ckpttool.verbs import doctor


def by_name(found: Any) -> dict[str, Any]:
    return {each["what"]: each for each in found["findings"]}


def test_what_is_there_is_shown_with_its_version(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = shell.json("doctor")
    assert (found["version"], found["holds"]) == (__version__, True)
    seen = by_name(found)
    assert seen["numpy"]["found"] == metadata.version("numpy")
    assert seen["tensorflow"]["state"] == "ok" and seen["devices"]["found"].startswith("CPU:0")
    assert seen["cache folder"]["found"] == str(tmp_path / "ckpttool")
    assert seen["cache folder"]["note"].endswith("it is not there yet")


@pytest.fixture
def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("tensorflow", "tensorflow-cpu", "matplotlib"):
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "pillow" else "1000"

    monkeypatch.setattr(doctor.metadata, "version", version)


@pytest.mark.usefixtures("without_tensorflow")
def test_what_is_missing_says_for_what_and_how_it_is_installed(shell: Any) -> None:
    seen = by_name(shell.json("doctor", exit_code=1))
    assert (seen["tensorflow"]["state"], seen["devices"]["state"]) == ("missing", "none")
    assert seen["matplotlib"]["note"] == "curves and pictures of filters: pip install 'ckpttool[plot]'"
    assert seen["pillow"]["state"] == "old" and "pip install -U 'pillow>=" in seen["pillow"]["note"]


def test_a_folder_that_cannot_be_made_is_wrong(shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(doctor, "devices", lambda: ["CPU:0"])
    seen = by_name(shell.json("doctor", exit_code=1))
    assert seen["cache folder"]["state"] == "wrong" and "cannot be written to" in seen["cache folder"]["note"]
