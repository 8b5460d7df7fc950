"""`keras:NAME`: Keras's data sets, from Keras's own cache (`~/.keras/datasets`), else downloaded from its source."""

import hashlib
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ckpttool.core.errors import DataError, MissingFile
from ckpttool.core.suggestions import suggestion
from ckpttool.data.files import DataFile, Wanted
from ckpttool.data.sources import idx, npz
from ckpttool.formats.writing.files import replacing

_SITE = "https://storage.googleapis.com/tensorflow/tf-keras-datasets"
_NAME = re.compile(r"keras:(.*)")
SECONDS = 60


@dataclass(frozen=True)
class KerasData:
    """A data set: the files in Keras's folder, and the SHA-256 of each from Keras's own loader (or None)."""

    folder: str
    files: dict[str, str | None]


DATASETS = {
    "mnist": KerasData("", {"mnist.npz": "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"}),
    "fashion_mnist": KerasData(
        "fashion-mnist",
        dict.fromkeys(
            f"{split}-{what}-ubyte.gz" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
        ),
    ),
}
"""Keras's data sets of arrays; the others are pickles, which are not read."""


def recognises(path: Path) -> bool:
    """Return whether the path is `keras:NAME`."""
    return _NAME.fullmatch(str(path)) is not None and not path.exists()


def read(path: Path, wanted: Wanted) -> DataFile:
    """Read a data set, which is downloaded if it is missing.

    Raises:
        DataError: there is no data set of this name, or a file is damaged.
        MissingFile: it is missing and cannot be downloaded; the message says where to put it.
    """
    name = str(path).removeprefix("keras:")
    if name not in DATASETS:
        known = ", ".join(DATASETS)
        raise DataError(
            f"{path}: no such data set of Keras{suggestion(name, DATASETS)}; known: {known}; save others with "
            "numpy.savez"
        )
    folder = home() / DATASETS[name].folder
    for file, digest in DATASETS[name].files.items():
        if not (folder / file).exists():
            _fetch(f"{_SITE}/{file}", folder / file, digest)
    files = list(DATASETS[name].files)
    if files == ["mnist.npz"]:
        return npz.read(folder / "mnist.npz", wanted)
    return idx.read(folder, wanted)


def home() -> Path:
    """Return the folder of Keras's data sets."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"


def _fetch(url: str, file: Path, digest: str | None) -> None:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            content = answer.read()
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise MissingFile(f"{file} is missing, and {url} cannot be reached: {error}; download it to there") from error
    found = hashlib.sha256(content).hexdigest()
    if digest is not None and found != digest:
        raise DataError(f"{url}: its SHA-256 is {found}, expected {digest}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as out:
        out.write(content)
