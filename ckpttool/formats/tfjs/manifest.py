"""The weights manifest of a TensorFlow.js `model.json`: files, order, shapes, dtypes and quantisation of weights.

The layout: weightsManifest in tfjs-core/src/io/types.ts, decodeWeights in io_utils.ts. The files of a group are
concatenated; they contain its weights without gaps.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ckpttool.core.dtypes import BY_NAME, STRING, DType
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import is_file, lies_beside
from ckpttool.core.shapes import is_possible
from ckpttool.core.tensors import TensorSpec
from ckpttool.formats.wire import strict_json
from ckpttool.remote import sparse_files

MODEL, SUFFIX = "model.json", ".json"
MANIFEST = "weightsManifest"
LIMIT = 100_000_000
"""The maximum size of a model.json in bytes: it contains a network's layers or graph, but no weights."""
MOST_FILES, MOST_TEXTS = 10_000, 1_000_000
"""The maximum numbers of files in a model.json, each of which is opened, and of strings in its weights."""
LENGTH = 4
"""The size in bytes of the length before each string."""
TEXTS_LIMIT = 32 << 20
"""The maximum size in bytes of a group with strings, which is read as a whole."""
RANK_LIMIT = 32
"""The maximum rank of a NumPy array, and a limit on its size in bytes."""
DTYPES = {name: BY_NAME[name] for name in ("float32", "int32", "bool", "complex64", "string")}
CODES = {"float16": "<f2", "uint8": "<u1", "uint16": "<u2"}
"""The NumPy types to which weights are quantised."""
TEXTS = ("format", "generatedBy", "convertedBy")


class Quantisation(NamedTuple):
    """The quantisation of a weight: codes of NumPy's type `code`, which mean `scale` * code + `least`."""

    code: str
    scale: float
    least: float


class Weight(NamedTuple):
    """A weight of a group, and its quantisation, if any."""

    spec: TensorSpec
    quantised: Quantisation | None

    @property
    def nbytes(self) -> int | None:
        """Its size in the files in bytes; None for strings, whose lengths are in the files."""
        if self.spec.dtype is STRING:
            return None
        return self.spec.elements * (int(self.quantised.code[-1]) if self.quantised else self.spec.dtype.itemsize)


class Group(NamedTuple):
    """Files to be concatenated, and the weights in them."""

    files: tuple[Path, ...]
    weights: tuple[Weight, ...]


def model_of(path: Path) -> Path:
    """Return the model.json for a path: the path itself, or the file in a folder."""
    return path / MODEL if path.is_dir() else path


def is_model(path: Path) -> bool:
    """Return whether a path is a JSON object that lists weights, or a folder with such a model.json."""
    path = model_of(path)
    if path.suffix != SUFFIX or not is_file(path):
        return False
    with sparse_files.opened(path) as file:
        return file.read(1) == b"{" and f'"{MANIFEST}"'.encode() in file.read(LIMIT)


def read_document(path: Path) -> dict[str, Any]:
    """Return the parsed model.json.

    Raises:
        CorruptCheckpoint: it is too large, is not JSON, or has no weights manifest.
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
    """Return the metadata of a model.json."""
    return {key: text for key in TEXTS if isinstance(text := document.get(key), str)}


def groups_of(path: Path, document: dict[str, Any]) -> Iterator[Group]:
    """Yield the groups of weights of a model.json.

    Raises:
        CorruptCheckpoint: the description of a weight or file is invalid.
        FormatError: a file is in another folder, a dtype is not supported, or there are too many files or strings.
    """
    texts = 0
    seen: set[str] = set()
    for group in document[MANIFEST]:
        files, weights = (group.get(key) for key in ("paths", "weights")) if isinstance(group, dict) else (None, None)
        if not isinstance(files, list) or not isinstance(weights, list):
            raise CorruptCheckpoint(f"{path}: a group of weights is {str(group)[:80]}, expected paths and weights")
        before, seen = len(seen), seen.union(map(str, files))
        if len(seen) < before + len(files):
            raise CorruptCheckpoint(f"{path}: its groups of weights list a file twice")
        if len(seen) > MOST_FILES:
            raise FormatError(f"{path}: it lists over {MOST_FILES} files of weights, the limit")
        found = Group(tuple(_beside(path, file) for file in files), tuple(_weight(path, each) for each in weights))
        texts += sum(weight.spec.elements for weight in found.weights if weight.spec.dtype is STRING)
        if texts > MOST_TEXTS:
            raise FormatError(f"{path}: its weights contain {texts} texts, at most {MOST_TEXTS} are read")
        yield found


def _beside(path: Path, file: Any) -> Path:
    """Return a file in the folder of the model.json, after checking that its name does not lead elsewhere."""
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
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise CorruptCheckpoint(f"{path}: {name} has the shape {str(shape)[:80]}, expected a list of sizes")
    if len(shape) > RANK_LIMIT or not is_possible(shape, dtype.itemsize or 1):
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
