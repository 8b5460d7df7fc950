"""Tensors may share the bytes of a file, but not so often that reading a small file never ends."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import set_external_data

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.formats.reading import limits
from ckpttool.formats.reading.limits import require_few_repeats
from ckpttool.formats.tensorflow import bundle, bundle_index
from ckpttool.formats.tensorflow.bundle_index import BundleIndex


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED_LIMIT", 1000)
    monkeypatch.setattr(limits, "RATIO_LIMIT", 3)
    monkeypatch.setattr(bundle, "UNPACKED_LIMIT", 1000)


@pytest.mark.usefixtures("low")
def test_a_few_repeats_are_tied_weights_and_many_are_refused() -> None:
    require_few_repeats(Path("x"), [("a", 0, 400), ("a", 400, 100), ("b", 0, 500), ("c", 9, 5000)])
    require_few_repeats(Path("x"), [("a", 0, 400), ("a", 0, 400), ("a", 200, 200), ("a", 100, 150)])
    require_few_repeats(Path("x"), [("a", 0, 100)] * 10)
    require_few_repeats(Path("x"), [])
    with pytest.raises(FormatError, match="x: its tensors repeat 500 bytes to 1600"):
        require_few_repeats(
            Path("x"), [("a", 0, 400), ("a", 50, 350), ("a", 100, 300), ("a", 50, 450), ("a", 400, 100)]
        )


@pytest.mark.usefixtures("low")
def test_tensors_of_onnx_that_are_the_same_bytes_of_one_file(tmp_path: Path) -> None:
    def write(count: int) -> Path:
        tensors = [onnx.numpy_helper.from_array(np.zeros(100, np.float32), f"w{number}") for number in range(count)]
        for tensor in tensors:
            set_external_data(tensor, "x.data", 0, 400)
            tensor.ClearField("raw_data")
        graph = onnx.helper.make_graph([], "g", [], [], tensors)
        (tmp_path / "x.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
        (tmp_path / "x.data").write_bytes(bytes(400))
        return tmp_path / "x.onnx"

    assert len(checkpoint.open(write(3))) == 3
    with pytest.raises(FormatError, match="its tensors repeat 400 bytes to 1600"):
        checkpoint.open(write(4))


@pytest.mark.usefixtures("low")
def test_links_to_one_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(100, np.float32))
    (tmp_path / "b.npy").symlink_to("a.npy")
    (tmp_path / "c.npy").hardlink_to(tmp_path / "a.npy")
    assert len(checkpoint.open(tmp_path)) == 3
    (tmp_path / "d.npy").symlink_to("b.npy")
    with pytest.raises(FormatError, match="its tensors repeat 400 bytes to 1600"):
        checkpoint.open(tmp_path)


@pytest.mark.usefixtures("low")
def test_a_bundle_whose_tensors_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save({f"w{number}": np.zeros(100, np.float32) for number in range(4)}, tmp_path / "x.ckpt")
    (data,) = tmp_path.glob("x.ckpt.data*")
    data.write_bytes(b"")  # truncated data are another error, when they are read
    assert len(checkpoint.open(tmp_path / "x.ckpt")) == 4

    def read_index(path: Path) -> BundleIndex:
        index = bundle_index.read_index(path)
        (place, *_) = (entry.stored for entry in index.entries.values())
        return index._replace(entries={name: each._replace(stored=place) for name, each in index.entries.items()})

    monkeypatch.setattr(bundle, "read_index", read_index)
    with pytest.raises(FormatError, match="its tensors repeat 400 bytes to 1600"):
        checkpoint.open(tmp_path / "x.ckpt")
