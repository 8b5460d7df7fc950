"""What a `model.json` of TensorFlow.js says of its weights: in which files they are, and in which order, form and type.

The layout: weightsManifest in tfjs-core/src/io/types.ts, decodeWeights in io_utils.ts. The files of a group are one
stretch of bytes, in which its weights follow one another without a gap.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ckpttool.core.dtypes import BY_NAME, STRING, DType
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import lies_beside
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.wire import strict_json
from ckpttool.remote import sparse_files

MODEL, SUFFIX = "model.json", ".json"
MANIFEST = "weightsManifest"
LIMIT = 100_000_000
"""Bytes of a model.json that is read: the layers or the graph of a network are in it, and none of its numbers."""
MOST_FILES, MOST_TEXTS = 10_000, 1_000_000
"""Files that a model.json may name, each of which is opened, and texts that its weights may hold."""
LENGTH = 4
"""Bytes of the length that stands before each text."""
TEXTS_LIMIT = 32 << 20
"""Bytes of a group that has texts in it, which is read as a whole."""
RANK_LIMIT, SIZE_LIMIT = 32, 1 << 63
"""Dimensions that an array of NumPy may have, and the bytes of one that a machine may address."""
DTYPES = {name: BY_NAME[name] for name in ("float32", "int32", "bool", "complex64", "string")}
CODES = {"float16": "<f2", "uint8": "<u1", "uint16": "<u2"}
"""The types that weights are quantised to, as NumPy has them."""
TEXTS = ("format", "generatedBy", "convertedBy")


class Quantisation(NamedTuple):
    """How the numbers of a weight are stored: as NumPy's type `code`, from which they are `scale` * code + `least`."""

    code: str
    scale: float
    least: float


class Weight(NamedTuple):
    """A weight of a group, and how it is quantised, if it is."""

    spec: TensorSpec
    quantised: Quantisation | None

    @property
    def nbytes(self) -> int | None:
        """The bytes that it has in the files; None for texts, which say it there."""
        if self.spec.dtype is STRING:
            return None
        return self.spec.elements * (int(self.quantised.code[-1]) if self.quantised else self.spec.dtype.itemsize)


class Group(NamedTuple):
    """Files that follow one another, and the weights in them."""

    files: tuple[Path, ...]
    weights: tuple[Weight, ...]


def model_of(path: Path) -> Path:
    """Return the model.json that a path stands for: itself, or the one in a folder."""
    return path / MODEL if path.is_dir() else path


def is_model(path: Path) -> bool:
    """Return whether a path is a JSON object that lists weights, or a folder with such a model.json."""
    path = model_of(path)
    if path.suffix != SUFFIX or not path.is_file():
        return False
    with sparse_files.opened(path) as file:
        return file.read(1) == b"{" and f'"{MANIFEST}"'.encode() in file.read(LIMIT)


def read_document(path: Path) -> dict[str, Any]:
    """Return what a model.json says.

    Raises:
        CorruptCheckpoint: it is too large, no JSON, or has no list of weights.
    """
    if sparse_files.size_of(path) > LIMIT:
        raise CorruptCheckpoint(f"{path} has more than {LIMIT} bytes, the limit for a model.json")
    try:
        document = strict_json.loads(sparse_files.read_bytes(path))
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get(MANIFEST), list):
        raise CorruptCheckpoint(f"{path} has no {MANIFEST} of weights to files")
    return document


def texts_of(document: dict[str, Any]) -> dict[str, str]:
    """Return what a model.json says of itself."""
    return {key: text for key in TEXTS if isinstance(text := document.get(key), str)}


def groups_of(path: Path, document: dict[str, Any]) -> Iterator[Group]:
    """Yield the groups of weights of a model.json.

    Raises:
        CorruptCheckpoint: a weight or a file is not described as it should be.
        FormatError: a file would not lie beside it, a type of numbers is not read, or files or texts are too many.
    """
    files_named = texts = 0
    for group in document[MANIFEST]:
        files, weights = (group.get(key) for key in ("paths", "weights")) if isinstance(group, dict) else (None, None)
        if not isinstance(files, list) or not isinstance(weights, list):
            raise CorruptCheckpoint(f"{path}: a group of weights is {str(group)[:80]}, expected paths and weights")
        if len({str(file) for file in files}) < len(files):
            raise CorruptCheckpoint(f"{path}: a group of weights lists a file twice")
        files_named += len(files)
        if files_named > MOST_FILES:
            raise FormatError(f"{path}: it lists over {MOST_FILES} files of weights, the limit")
        found = Group(tuple(_beside(path, file) for file in files), tuple(_weight(path, each) for each in weights))
        texts += sum(weight.spec.elements for weight in found.weights if weight.spec.dtype is STRING)
        if texts > MOST_TEXTS:
            raise FormatError(f"{path}: its weights contain {texts} texts, at most {MOST_TEXTS} are read")
        yield found


def _beside(path: Path, file: Any) -> Path:
    """Return a file in the folder of the model.json; nothing in it leads elsewhere."""
    if not isinstance(file, str) or not file:
        raise CorruptCheckpoint(f"{path}: weights have the file {str(file)[:80]}, expected a file name")
    if not lies_beside(file):
        raise FormatError(f"{path}: weights have the file {file[:80]!r}, which is outside of its folder")
    return path.with_name(file)


def _weight(path: Path, described: Any) -> Weight:
    name = described.get("name") if isinstance(described, dict) else None
    if not isinstance(name, str):
        raise CorruptCheckpoint(f"{path}: a weight is {str(described)[:80]}, expected a name, a shape and a dtype")
    dtype, shape = DTYPES.get(str(described.get("dtype"))), described.get("shape")
    if dtype is None:
        raise FormatError(f"{path}: {name} has the dtype {str(described.get('dtype'))[:80]}, which is not supported")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < SIZE_LIMIT for size in shape):
        raise CorruptCheckpoint(f"{path}: {name} has the shape {str(shape)[:80]}, expected a list of sizes")
    if len(shape) > RANK_LIMIT or math.prod(size for size in shape if size) * (dtype.itemsize or 1) >= SIZE_LIMIT:
        raise CorruptCheckpoint(f"{path}: {name} has the impossible shape {str(shape)[:80]}")
    quantised = described.get("quantization")
    return Weight(
        TensorSpec(name, tuple(shape), dtype), None if quantised is None else _quantised(path, name, dtype, quantised)
    )


def _quantised(path: Path, name: str, dtype: DType, described: Any) -> Quantisation:
    code = CODES.get(str(described.get("dtype"))) if isinstance(described, dict) else None
    if code is None or dtype.name not in ("float32", "int32") or (code == CODES["float16"] and dtype.name == "int32"):
        raise FormatError(f"{path}: {name} is {dtype} quantised by {str(described)[:80]}, which is not supported")
    if code == CODES["float16"]:
        return Quantisation(code, 1.0, 0.0)
    scale, least = described.get("scale"), described.get("min")
    if not _is_number(scale) or not _is_number(least):
        raise CorruptCheckpoint(f"{path}: {name} is quantised by {str(described)[:80]}, expected a scale and a min")
    return Quantisation(code, float(scale), float(least))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300
