"""The kind of a file, by its content first and its name second, and the scanner for it."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.formats import registry
from ckpttool.formats.hdf5.source import Hdf5Source, is_hdf5
from ckpttool.formats.pytorch.archive import DISTRIBUTED
from ckpttool.formats.reading.archive import is_zip
from ckpttool.formats.tensorflow.prefix import PART, prefix_of
from ckpttool.formats.wire.table import is_table
from ckpttool.formats.zarr.ocdbt import MANIFEST, read_database
from ckpttool.scanning.archives import findings_in_distributed, findings_in_hdf5, findings_in_zip
from ckpttool.scanning.arrays import MAGIC, array_findings
from ckpttool.scanning.finding import Finding, Unread
from ckpttool.scanning.graphs import graph_findings, hidden_findings
from ckpttool.scanning.networks import is_network, is_shard, network_findings, shard_findings
from ckpttool.scanning.others import findings_in, is_text
from ckpttool.scanning.pickles import pickle_findings
from ckpttool.scanning.records import is_record, record_findings
from ckpttool.scanning.variables import variable_findings

GRAPHS = (".meta", ".pb", ".pbtxt")
PICKLES = (".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt", ".p")
DATA = (".npy", ".npz", ".h5", ".hdf5", ".keras", ".safetensors", ".index", *PICKLES)
TEXTS = (".pbtxt", ".pb.txt", ".prototxt")
METADATA = "keras_metadata.pb"
CHUNK = re.compile(r"c|\d+([.]\d+)*|[0-9a-f]{32}")
"""Names of files that contain only numbers: chunks of Zarr, and data files of Orbax's databases."""
DESCRIBED = (".zarray", "zarr.json", "manifest.ocdbt")
"""Files in a parent folder that describe them."""
BESIDE = ("fingerprint.pb", "saved_model_config.pb")
"""Protobuf files beside a SavedModel's graph that are not graphs."""


def findings_by_kind(path: Path, named: bool) -> Iterable[Finding | Unread] | None:
    """Return the results of the scanner for a file, or None if neither its name nor its first bytes reveal its kind."""
    with path.open("rb") as file:
        start = file.read(8)
    for is_one, scanner in _KINDS:
        if is_one(path, start):
            return scanner(path)
    if path.suffix in DATA:
        raise FormatError(f"{path} is neither of the kind in its name nor of another known kind")
    return graph_findings(path) if named and not _is_text(path) else None


def _beside(path: Path) -> Iterator[Finding]:
    """Yield the ops that could act if a file beside a SavedModel's graph is a graph itself."""
    yield from hidden_findings(path.read_bytes(), path, path.name)


def findings_in_other(path: Path) -> Iterator[Finding | Unread]:
    """Yield findings for a file of no known kind."""
    with path.open("rb") as file:
        yield from findings_in(cast(IO[bytes], file), path, path.name)


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        return is_text(cast(IO[bytes], file))


def _is_pickle(path: Path, start: bytes) -> bool:
    return (start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5")) or path.suffix in (".pkl", ".pickle")


def _is_graph(path: Path, _start: bytes) -> bool:
    """Return whether a file has the suffix of a graph; a text must also contain fields of one."""
    if not path.name.endswith(TEXTS):
        return path.suffix in GRAPHS
    with path.open("rb") as file:
        text = file.read(1 << 20)
    return any(field in text for field in (b"node", b"meta_graphs", b"graph_def"))


def _is_inert(path: Path, start: bytes) -> bool:
    """Return whether a file is empty, or a data file with its index beside it; neither can act."""
    part = PART.search(path.name)
    if part is None or path.suffix in (".index", ".meta"):
        return not start
    return not start or path.with_name(f"{path.name[: part.start()]}.index").is_file()


def _is_chunk(path: Path, start: bytes) -> bool:
    """Return whether a file is a chunk of an array that a parent folder describes, and is not a program."""
    if not CHUNK.fullmatch(path.name) or start.startswith((b"#!", b"\x7fELF", b"MZ")):
        return False
    for folder in path.parents:
        if any((folder / name).is_file() for name in DESCRIBED):
            return True
        if not (CHUNK.fullmatch(folder.name) or folder.name == "d"):
            return False
    return False


def _is_tree(path: Path) -> bool:
    """Return whether a file is of Flax or llama.cpp, which contain only arrays, strings and numbers."""
    return any(registry.get(name).recognises(path) for name in ("flax", "gguf"))


def _database(path: Path) -> Iterator[Finding]:
    """Read the index of an Orbax database: yields nothing, and raises if it is damaged or refers to other folders."""
    read_database(path.parent)
    yield from ()


def _metadata(path: Path) -> Iterator[Finding]:
    """Yield findings for code that Keras 2 stored beside a SavedModel."""
    text = path.read_bytes()
    for name in ("Lambda", "TFOpLambda"):
        if f'"class_name": "{name}"'.encode() in text:
            reason = "Keras 2 makes the layer again from code in this file"
            helps = "do not load the folder with Keras; as a SavedModel it computes the same without the file"
            yield Finding(path, "keras/code", "", name, "high", reason, helps)


def _pickle(path: Path) -> Iterator[Finding]:
    with path.open("rb") as file:
        yield from pickle_findings(cast(IO[bytes], file), path, "")


def _numbers(path: Path) -> Iterator[Finding]:
    """Read the header of a file that contains only numbers: yields nothing, and raises if it is damaged."""
    checkpoint.open(path)
    yield from ()


def _array(path: Path) -> Iterator[Finding]:
    with path.open("rb") as file:
        yield from array_findings(cast(IO[bytes], file), path, "")


_KINDS: tuple[tuple[Callable[[Path, bytes], bool], Callable[[Path], Iterable[Finding | Unread]]], ...] = (
    (lambda path, _: is_record(path), record_findings),
    (lambda path, _: path.suffix == DISTRIBUTED, findings_in_distributed),
    (lambda path, _: is_zip(path), findings_in_zip),
    (lambda path, _: is_hdf5(path), lambda path: findings_in_hdf5(Hdf5Source.of(path), "")),
    (lambda _, start: start.startswith(MAGIC), _array),
    (lambda path, _: path.name == METADATA, _metadata),
    (lambda path, _: path.name in BESIDE, _beside),
    (lambda path, start: bool(start) and is_table(path), lambda path: variable_findings(prefix_of(path))),
    (lambda path, _: path.suffix == ".safetensors", _numbers),
    (lambda path, start: bool(start) and _is_graph(path, start), graph_findings),
    (is_network, network_findings),
    (_is_inert, lambda _: ()),
    (_is_pickle, _pickle),
    (is_shard, shard_findings),
    (lambda path, _: path.name == MANIFEST, _database),
    (lambda path, _: _is_tree(path), _numbers),
    (_is_chunk, lambda _: ()),
)
"""Predicates on the path and the first bytes of a file, each with its scanner; the first match applies."""
