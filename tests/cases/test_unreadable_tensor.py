"""Files in which one tensor is of an unsupported kind: the others are read, and it is reported."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

import ckpttool


def make(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are deprecated
        quantised = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
        state = {"w": torch.ones(3), "a.scale": quantised, "b": torch.eye(2).to_sparse()}
        torch.save({"model": state}, folder / "quantised.pt")
        torch.save({"model": state}, folder / "quantised_old.pt", _use_new_zipfile_serialization=False)
    entries = {
        "odd": {"dtype": "F4", "shape": [4], "data_offsets": [12, 14]},
        "w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
    }
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    data = np.ones(3, np.float32).tobytes() + bytes(2)
    (folder / "float4.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data)
    np.savez(folder / "objects.npz", w=np.ones(3, np.float32), odd=np.array([{}, None], object))
    with h5py.File(folder / "records.h5", "w") as file:
        file["w"] = np.ones(3, np.float32)
        file["odd"] = np.zeros(2, [("x", "f4"), ("y", "i8")])
        file["link"] = file["w"].ref
    (folder / "arrays").mkdir()
    np.save(folder / "arrays" / "w.npy", np.ones(3, np.float32))
    np.save(folder / "arrays" / "odd.npy", np.array([{}], object), allow_pickle=True)
    write_onnx(folder)


def write_onnx(folder: Path) -> None:
    """Write a model with weights in every place where ONNX can have them."""
    odd = onnx.TensorProto(name="odd", data_type=onnx.TensorProto.FLOAT8E8M0, dims=[2], raw_data=bytes(2))
    values = numpy_helper.from_array(np.ones(1, np.float32), "thin")
    thin = helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "i"), [3])
    constant = numpy_helper.from_array(np.ones(2, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["kept"], value=constant),
        helper.make_node("Constant", [], ["listed"], value_floats=[1.0, 2.0]),
        helper.make_node("LinearRegressor", ["w"], ["scores"], domain="ai.onnx.ml", coefficients=[1.0, 2.0, 3.0]),
        helper.make_node("Upsampled", ["w"], ["y"], scales=[1.0, 2.0]),
    ]
    w = numpy_helper.from_array(np.ones(3, np.float32), "w")
    graph = helper.make_graph(nodes, "graph", [], [], [w, odd], sparse_initializer=[thin])
    inner = helper.make_node("Constant", [], ["inside"], value=constant)
    function = helper.make_function("own", "Scaled", [], ["inside"], [inner], [helper.make_opsetid("", 18)])
    onnx.save(helper.make_model(graph, functions=[function]), folder / "everywhere.onnx")
    beside = onnx.TensorProto(name="far", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    beside.external_data.add(key="location", value="gone.bin")
    onnx.save(helper.make_model(helper.make_graph([], "graph", [], [], [w, beside])), folder / "beside.onnx")


@pytest.mark.parametrize(
    ("file", "left_out"),
    [
        ("quantised.pt", ["a.scale (is quantised)", "b (is sparse)"]),
        ("quantised_old.pt", ["a.scale (is quantised)", "b (is sparse)"]),
        ("float4.safetensors", ["odd (F4, which is not supported)"]),
        ("objects.npz", ["odd (contains Python objects or structures (object), which are never read)"]),
        ("arrays", ["odd (contains Python objects or structures (object), which are never read)"]),
        ("records.h5", ["link", "odd"]),
        (
            "everywhere.onnx",
            ["odd (has dtype number 24, FLOAT8E8M0", "thin (a sparse", "kept", "listed", "scores", "inside"],
        ),
    ],
)
def test_the_rest_is_read_and_it_is_named(
    folder: Path, run: Callable[[str], str], file: str, left_out: list[str]
) -> None:
    opened = ckpttool.open(file)
    assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {"w": [1, 1, 1]}
    assert len(opened.left_out) == len(left_out)
    for entry, expected in zip(sorted(opened.left_out), sorted(left_out), strict=True):
        assert entry.startswith(expected)
    count = f"{len(left_out)} entr{'y' if len(left_out) == 1 else 'ies'} skipped"
    assert count in run(f"ckpttool verify {file}")
    assert "skipped" in run(f"ckpttool convert {file} -o out.safetensors")
    assert list(ckpttool.open("out.safetensors")) == ["w"]


def test_a_missing_data_file_is_named_and_the_rest_converted(folder: Path, run: Callable[..., str]) -> None:
    assert "far" in run("ckpttool vars beside.onnx")
    assert "gone.bin is missing" in run("ckpttool verify beside.onnx", 1)
    assert "gone.bin is missing: it contains far of beside.onnx" in run("ckpttool convert beside.onnx -o all.npz", 2)
    run("ckpttool convert beside.onnx --layers w -o rest.npz")
    assert ckpttool.open("rest.npz")["w"].read().tolist() == [1, 1, 1]


def test_data_of_objects_is_still_refused(folder: Path) -> None:
    from ckpttool.core.errors import DataError
    from ckpttool.data.files import Wanted
    from ckpttool.data.sources import npz

    with pytest.raises(DataError, match="contains Python objects"):
        npz.read(folder / "objects.npz", Wanted())
