"""Small files of every supported format, and the result of reading one: names and values as text, or the error."""

import hashlib
import io
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.formats.format import Writing
from ckpttool.surgery.verify import verify

ROOT = Path(__file__).parents[1]
ARRAYS: dict[str, Any] = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}
CONFIG = b'{"module":"keras","class_name":"Sequential","config":{"name":"s","layers":[]}}'


def npz(path: Path) -> None:
    """Write a NumPy archive."""
    np.savez(path, **ARRAYS)


def npz_packed(path: Path) -> None:
    """Write a compressed NumPy archive."""
    np.savez_compressed(path, **ARRAYS)


def hdf5_bytes() -> bytes:
    """Return a Keras 3 weights file, as small as h5py makes it."""
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        group = file.create_group("layers/dense/vars", track_order=False)
        group["0"], group["1"] = ARRAYS["a/kernel"], np.ones(3, np.float32)
    return out.getvalue()


def h5(path: Path) -> None:
    """Write an HDF5 file."""
    path.write_bytes(hdf5_bytes())


def keras(path: Path) -> None:
    """Write a minimal Keras archive by hand."""
    _archive(path, zipfile.ZIP_STORED)


def keras_packed(path: Path) -> None:
    """Write a Keras archive with compressed members."""
    _archive(path, zipfile.ZIP_DEFLATED)


def _archive(path: Path, packing: int) -> None:
    with zipfile.ZipFile(path, "w", packing) as file:
        file.writestr("metadata.json", b'{"keras_version":"3.15.0"}')
        file.writestr("config.json", CONFIG)
        file.writestr("model.weights.h5", hdf5_bytes())


def torch(path: Path) -> None:
    """Write a `torch.save` file."""
    import torch as library

    library.save({name: library.from_numpy(array) for name, array in ARRAYS.items()}, path)


def safetensors(path: Path) -> None:
    """Write a safetensors file."""
    from safetensors.numpy import save_file

    save_file(ARRAYS, path)


def bundle(path: Path) -> None:
    """Write a bundle."""
    checkpoint.save(ARRAYS, path, "bundle")


def sharded(path: Path) -> None:
    """Write a bundle whose tensors are in two files."""
    checkpoint.save(ARRAYS, path, "bundle", how=Writing(shard_bytes=4))


def texts(path: Path) -> None:
    """Write a bundle of strings."""
    checkpoint.save({"s": np.array([b"hello", b"", b"x" * 30], object)}, path, "bundle")


def fixture(name: str) -> "Maker":
    """Return a function that copies a bundle written by TensorFlow."""

    def make(path: Path) -> None:
        for file in (ROOT / "fixtures" / "bundles").glob(f"{name}.*"):
            shutil.copyfile(file, path.with_name(file.name.replace(name, path.name)))

    return make


def version_1(path: Path) -> None:
    """Write a version 1 file with numbers and a string."""
    sys.path[:0] = [str(ROOT / "tests" / "formats")]
    import fuzz_checkpoints

    path.write_bytes(fuzz_checkpoints.table(fuzz_checkpoints.version_1()))


Maker = Callable[[Path], None]
WITH_CHECKSUMS: dict[str, Maker] = {
    "x.npz": npz,
    "packed.npz": npz_packed,
    "x.keras": keras,
    "packed.keras": keras_packed,
    "x.pt": torch,
    "x.ckpt": bundle,
    "sharded.ckpt": sharded,
    "partitioned.ckpt": fixture("partitioned.ckpt"),
    "texts.ckpt": texts,
    "variant.ckpt": fixture("variant.ckpt"),
    "x.v1": version_1,
}
WITHOUT_CHECKSUMS: dict[str, Maker] = {"x.safetensors": safetensors, "x.h5": h5}


def read(path: Path) -> str:
    """Return the content of a file as text, equal only if all is equal; errors begin with `refused`."""
    try:
        opened = checkpoint.open(path)
        values = {name: (str(tensor.dtype), tensor.shape, tensor.read().tobytes()) for name, tensor in opened.items()}
    except (CkptError, OSError) as error:
        return f"refused: {type(error).__name__}: {error}"
    text = repr((values, sorted(opened.metadata.items()), opened.left_out))
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).hexdigest()


def verified(path: Path) -> str:
    """Return the outcome of `verify` for a file, likewise."""
    try:
        report = verify(path)
    except (CkptError, OSError) as error:
        return f"refused: {type(error).__name__}: {error}"
    return f"{report.tensors} {report.nbytes}" if report.whole else f"refused: {report.damaged[0].why}"


def folder() -> str | None:
    """Return the fastest folder for temporary files."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None


def streamed(path: Path) -> str:
    """Read all of a file in pieces, as conversions do; return a one-word outcome or the error's reason."""
    try:
        opened = checkpoint.open(path)
        total = sum(len(piece) for tensor in opened.values() if tensor.dtype.itemsize for piece in tensor.pieces())
    except (CkptError, OSError) as error:
        return f"refused: {type(error).__name__}: {error}"
    return f"read: {len(opened)} tensors, {total} bytes"
