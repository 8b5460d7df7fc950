"""The layout of a catalogue: one of a newer version, or with files that no catalogue has, is not read."""

from pathlib import Path

import pytest

from ckpttool.catalogue import layout
from ckpttool.catalogue.layout import HEAD, Catalogue
from ckpttool.catalogue.manifest import FORMAT
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.wire import checked_json


@pytest.mark.parametrize("version", [FORMAT + 1, None, "1", 1.5])
def test_a_catalogue_of_a_newer_version_is_neither_read_nor_written(tmp_path: Path, version: object) -> None:
    Catalogue.begun(tmp_path)
    Catalogue.open(tmp_path)
    (tmp_path / HEAD).write_bytes(checked_json.dumps({"format": version}))
    for opened in (Catalogue.open, Catalogue.begun):
        with pytest.raises(FormatError, match=f"has format {version}, this version of ckpttool reads up to {FORMAT}"):
            opened(tmp_path)


def test_a_head_that_is_damaged_or_too_large_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Catalogue.begun(tmp_path)
    (tmp_path / HEAD).write_bytes(b"{}")
    with pytest.raises(CorruptCheckpoint, match=r"zoo\.json is damaged"):
        Catalogue.open(tmp_path)
    monkeypatch.setattr(layout, "MOST_BYTES", 1)
    with pytest.raises(CorruptCheckpoint, match=r"zoo\.json has more than 1 bytes, the limit"):
        Catalogue.open(tmp_path)


def test_another_folder_is_no_catalogue_and_becomes_none(tmp_path: Path) -> None:
    (tmp_path / "letter").touch()
    with pytest.raises(MissingFile, match="is not a catalogue: `ckpttool zoo add` creates one"):
        Catalogue.open(tmp_path)
    with pytest.raises(CkptError, match="contains letter and is not a catalogue: specify an empty folder"):
        Catalogue.begun(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]


def test_an_entry_without_a_revision_is_told(tmp_path: Path) -> None:
    catalogue = Catalogue.begun(tmp_path)
    with pytest.raises(MissingFile, match="has no net@3"):
        catalogue.manifest("net", 3)
    (catalogue.manifests / "net").mkdir()
    (tmp_path / "others").mkdir()
    (catalogue.manifests / "link").symlink_to(tmp_path / "others")
    (catalogue.manifests / "file").touch()
    assert [each.name for each in catalogue.folders()] == ["net"]
