"""Which files are Keras's: those with a Keras name but other bytes are not."""

import zipfile
from pathlib import Path

import h5py
import pytest
from keras_files import archive, weights_file

from ckpttool.formats.keras.archive import KerasArchive
from ckpttool.formats.keras.files import is_archive, is_whole_model
from ckpttool.formats.keras.weights import KerasWeights, is_map


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of files, some of which have misleading names."""
    whole = archive(tmp_path / "whole.keras", weights_file(tmp_path / "w.weights.h5", {}))
    raw = whole.read_bytes()
    (tmp_path / "cut.keras").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "cut.zip").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "zeros.keras").write_bytes(bytes(1000))
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as out:
        out.writestr("letter.txt", "dear")
    with h5py.File(tmp_path / "tree.weights.h5", "w") as tree:
        tree["anything"] = [1.0, 2.0]
    with h5py.File(tmp_path / "model.h5", "w") as tree:
        tree.attrs["model_config"] = "{}"
    (tmp_path / "map.weights.json").write_text('{"weight_map": {}}')
    (tmp_path / "map.json").write_text('{"weight_map": {}}')
    (tmp_path / "text.weights.json").write_text("weights")
    return tmp_path


def test_an_archive_is_a_zip_with_a_configuration_or_a_damaged_one_of_that_name(files: Path) -> None:
    found = {path.name for path in files.iterdir() if is_archive(path)}
    assert found == {"whole.keras", "cut.keras"} == {path.name for path in files.iterdir() if recognised(path)}


def recognised(path: Path) -> bool:
    return KerasArchive().recognises(path)


def test_weights_are_numbered_in_hdf5_or_named_by_a_map(files: Path) -> None:
    found = {path.name for path in files.iterdir() if KerasWeights().recognises(path)}
    assert found == {"w.weights.h5", "map.weights.json"}


def test_a_map_is_a_file_of_json_that_is_called_so(files: Path) -> None:
    (files / "folder.weights.json").mkdir()
    assert {path.name for path in files.iterdir() if is_map(path)} == {"map.weights.json"}
    assert not is_map(files / "gone.weights.json")


def test_a_whole_model_has_a_network(files: Path) -> None:
    assert {path.name for path in files.iterdir() if is_whole_model(path)} == {"whole.keras", "cut.keras", "model.h5"}
