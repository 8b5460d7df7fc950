"""Hostile weight files: `import` rejects each with its reason, and their targets stay untouched."""

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

SECRET = np.arange(8, dtype=np.float32)
NAME = "hidden1/bias"


class Touch:
    """An object whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def h5(build: Callable[[h5py.File], object]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with h5py.File(folder / "secret.h5", "w") as secret:
            secret["x"] = SECRET
        (folder / "secret.bin").write_bytes(SECRET.tobytes())
        with h5py.File(folder / "weights.h5", "w") as file:
            build(file)
        return folder / "weights.h5"

    return make


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((8,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "x", shape=(8,))
    file.create_virtual_dataset(NAME, layout)


def through_a_link(file: h5py.File) -> None:
    file["away"] = h5py.ExternalLink("secret.h5", "/")
    file[NAME] = h5py.SoftLink("/away/x")


def bomb(file: h5py.File) -> None:
    file.create_dataset(NAME, (2**33,), "f4", chunks=(2**24,), compression="gzip", fillvalue=0)


def pickled(folder: Path) -> Path:
    torch.save({NAME: torch.ones(8), "x": Touch(folder / "canary")}, folder / "weights.pt")
    return folder / "weights.pt"


def bare_pickle(folder: Path) -> Path:
    (folder / "weights.pt").write_bytes(pickle.dumps(Touch(folder / "canary")))
    return folder / "weights.pt"


def objects(folder: Path) -> Path:
    np.savez(folder / "weights.npz", **{NAME: np.array([Touch(folder / "canary")], object)})
    return folder / "weights.npz"


def climbing(folder: Path) -> Path:
    with h5py.File(buffer := io.BytesIO(), "w") as file:
        file["x"] = SECRET
    with zipfile.ZipFile(folder / "weights.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", buffer.getvalue())
        archive.writestr("../canary", "x")
    return folder / "weights.keras"


def too_large(folder: Path) -> Path:
    header = b'{"hidden1/bias":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    (folder / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + SECRET.tobytes())
    return folder / "weights.safetensors"


LIES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "an external link": (
        h5(lambda file: file.__setitem__(NAME, h5py.ExternalLink("secret.h5", "/x"))),
        "a link to outside of the file",
    ),
    "a soft link out": (h5(through_a_link), "a link to outside of the file"),
    "a virtual dataset": (h5(virtual), "values in another file"),
    "external storage": (
        h5(lambda f: f.create_dataset(NAME, (8,), "f4", external=[("secret.bin", 0, 32)])),
        "values in another file",
    ),
    "a shape larger than the file": (
        h5(lambda file: file.create_dataset(NAME, (2**40,), "f4")),
        "is declared as float32",
    ),
    "a bomb": (h5(bomb), "is declared as float32"),
    "a header larger than the file": (too_large, "expected 4398046511201 by its header"),
    "a pickle that calls": (pickled, "posix.system"),
    "a pickle and no zip": (bare_pickle, "weights.pt"),
    "objects in an array": (objects, "object"),
    "a member that climbs": (climbing, "../canary"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(shell: Any, small: Path, tmp_path: Path, lie: str) -> None:
    make, reason = LIES[lie]
    folder = tmp_path / "folder"
    folder.mkdir()
    weights = make(folder)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    options = ["--into", small, "--lenient", "-o", tmp_path / "out.ckpt"]
    (line,) = shell.run("import", weights, *options, exit_code=2).stderr.splitlines()
    assert str(weights) in line
    assert reason in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
