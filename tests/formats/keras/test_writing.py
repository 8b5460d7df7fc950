"""Writing Keras files: whole or absent, read back, and as read by Keras and by our own readers."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conformance import change_on_disk

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.keras import writing
from ckpttool.formats.keras.writing import KerasWeights, write_archive, write_weights

CONFIG = {"module": "keras", "class_name": "Sequential", "config": {"name": "net", "layers": []}}


@pytest.fixture
def weights() -> KerasWeights:
    kernel, bias = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(3, np.float32)
    values = {"layers/dense/vars/0": Tensor.of("k", kernel), "layers/dense/vars/1": Tensor.of("b", bias)}
    return KerasWeights.numbered(values, {"layers/dense": "outputs"})


def test_our_readers_find_the_weights_by_their_names(weights: KerasWeights, tmp_path: Path) -> None:
    write_archive(CONFIG, {"keras_version": "3.15.1"}, weights, tmp_path / "a.keras")
    write_weights(weights, tmp_path / "a.weights.h5")
    for name in ("a.keras", "a.weights.h5"):
        found = checkpoint.open(tmp_path / name)
        assert list(found) == ["outputs/kernel", "outputs/bias"]
        np.testing.assert_array_equal(found["outputs/kernel"].read(), weights.tensors["layers/dense/vars/0"].read())
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.read("config.json")) == CONFIG
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.keras", "a.weights.h5"]


def test_keras_takes_the_weights(weights: KerasWeights, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="outputs")])
    write_weights(weights, tmp_path / "a.weights.h5")
    model.load_weights(tmp_path / "a.weights.h5")
    for given, found in zip(weights.tensors.values(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, given.read())


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5"])
def test_what_is_there_stays_whole_where_a_tensor_cannot_be_read(
    weights: KerasWeights, tmp_path: Path, name: str
) -> None:
    output = tmp_path / name
    output.write_text("old")

    def broken() -> Iterator[memoryview]:
        yield memoryview(bytes(4))
        raise OSError("the disk is gone")

    spec = TensorSpec("k", (2, 3), weights.tensors["layers/dense/vars/0"].dtype)
    bad = KerasWeights({"layers/dense/vars/0": Tensor(spec, lambda: np.zeros((2, 3)), broken)}, {})

    with pytest.raises(OSError, match="the disk is gone"):
        if name == "a.keras":
            write_archive(CONFIG, {}, bad, output)
        else:
            write_weights(bad, output)
    assert [each.name for each in tmp_path.iterdir()] == [name]
    assert output.read_text() == "old"


ONES, TWOS = np.full(3, 1, np.float32).tobytes(), np.full(3, 2, np.float32).tobytes()


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("a.keras", b"Sequential", b"Sequentiel", "config.json"),
        ("a.keras", b"3.15.1", b"3.15.2", "metadata.json"),
        ("a.keras", ONES, TWOS, "layers/dense/vars/1 reads back differently"),
        ("a.weights.h5", ONES, TWOS, "layers/dense/vars/1 reads back differently"),
    ],
)
def test_what_the_disk_changed_is_found_and_the_old_one_stays(
    weights: KerasWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: bytes, new: bytes, said: str
) -> None:
    output = tmp_path / name
    output.write_text("old")
    change_on_disk(monkeypatch, old, new)
    with pytest.raises(CorruptCheckpoint, match=said):
        if name == "a.keras":
            write_archive(CONFIG, {"keras_version": "3.15.1"}, weights, output)
        else:
            write_weights(weights, output)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(name, "old")]


@pytest.mark.parametrize("name", ["config.json", "metadata.json"])
def test_a_text_that_is_written_as_another_is_found(
    weights: KerasWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """With a matching checksum: no disk error, but possibly a bug of ours."""
    write = writing._write_zip
    monkeypatch.setattr(writing, "_write_zip", lambda file, contents: write(file, {**contents, name: [b"{}"]}))
    with pytest.raises(CorruptCheckpoint, match=rf"{name} reads back differently than it was written"):
        write_archive(CONFIG, {"keras_version": "3.15.1"}, weights, tmp_path / "a.keras")
    assert not [*tmp_path.iterdir()]
