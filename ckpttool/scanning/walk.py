"""The scan of a path: the kind of each file follows from its content, and determines what is searched for.

Folders are scanned recursively; links are reported and not followed. A file that cannot be read, or is neither text nor
of a known kind, is reported as unread, and the result is then not clean.
"""

import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast
from zipfile import ZipFile, ZipInfo

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.plain_files import resolved
from ckpttool.formats import registry
from ckpttool.formats.hdf5.source import Hdf5Source, Unpacked, is_hdf5, stamp_of
from ckpttool.formats.keras.archive import LARGEST
from ckpttool.formats.pytorch.archive import DISTRIBUTED
from ckpttool.formats.reading.archive import is_zip, member_bytes, members, opened, refuse_packing
from ckpttool.formats.reading.window import Window
from ckpttool.formats.tensorflow.prefix import PART, prefix_of
from ckpttool.formats.wire import strict_json
from ckpttool.formats.wire.table import is_table
from ckpttool.formats.zarr.ocdbt import MANIFEST, read_database
from ckpttool.scanning.arrays import MAGIC, array_findings
from ckpttool.scanning.finding import Finding, Unread
from ckpttool.scanning.graphs import graph_findings, hidden_findings
from ckpttool.scanning.hdf5_links import configs_in, hdf5_findings
from ckpttool.scanning.keras_configs import config_findings
from ckpttool.scanning.others import are_numbers, findings_in, is_text
from ckpttool.scanning.parts import named_in, parts_in
from ckpttool.scanning.pickles import pickle_findings
from ckpttool.scanning.records import is_record, record_findings
from ckpttool.scanning.variables import variable_findings
from ckpttool.scanning.zips import infos_of, zip_findings

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
_FAULTS = (CkptError, OSError, RecursionError, MemoryError, zipfile.BadZipFile)


@dataclass
class Scan:
    """The findings, what could not be read, and the number of files that were scanned and of those of unknown kind."""

    found: list[Finding] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    scanned: int = 0
    others: int = 0


def scan(paths: Iterable[Path]) -> Scan:
    """Scan files, folders, and the files of checkpoint prefixes, each once.

    An index stands for its shards, and a file of a checkpoint for all of them, as in every command.

    Raises:
        MissingFile: nothing exists at one of the paths.
    """
    named, scanned, result = list(paths), set[Path](), Scan()
    for path in named:
        for file in [each for each in _files(path, result) if each not in scanned]:
            _scan_file(file, file == path, result)
            scanned.add(file)
    return result


def _files(path: Path, result: Scan) -> Iterator[Path]:
    """Yield the files that a path stands for; special files and links out of the folder are added to the result."""
    if path.is_dir():
        yield from _in_folder(path, result)
    elif path.exists() or path.is_symlink():
        if _is_regular(path, path.parent, result, named=True):
            yield path
            files, unread = named_in(path)
            result.unread += unread
            yield from (each for each in files if _is_regular(each, path.parent, result, named=True))
    else:
        parts = sorted(
            each for each in path.parent.glob("*") if each.name.startswith(f"{path.name}.") and each.is_file()
        )
        if not parts:
            raise MissingFile(f"{path} is missing: no file, folder or checkpoint has that name")
        yield from parts


def _in_folder(folder: Path, result: Scan) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        result.unread.append(Unread(Path(error.filename or folder), str(error.strerror)))

    for root, folders, names in os.walk(folder, onerror=fail):
        folders.sort()
        for each in [name for name in folders if Path(root, name).is_symlink()]:
            _is_regular(Path(root, each), folder, result)
        for name in sorted(names):
            if _is_regular(Path(root, name), folder, result):
                yield Path(root, name)


def _is_regular(path: Path, folder: Path, result: Scan, named: bool = False) -> bool:
    """Return whether a path is a regular file; report links out of the folder, FIFOs, sockets and devices."""
    if path.is_symlink() and not named:
        target = str(path.readlink())
        if not resolved(path).is_relative_to(resolved(folder)):
            reason = "reading or copying it reads a file outside of the folder"
            helps = "replace it with the file, or remove it"
            result.found.append(Finding(path, "file/link", "", target, "medium", reason, helps))
        return False
    try:
        mode = path.stat().st_mode
    except OSError as error:
        result.unread.append(Unread(path, str(error.strerror)))
        return False
    if stat.S_ISREG(mode):
        return True
    reason = "it is not a file of bytes: a program that opens it may wait forever, or make a device act"
    result.found.append(Finding(path, "file/special", "", stat.filemode(mode), "medium", reason, "remove it"))
    return False


def _scan_file(path: Path, named: bool, result: Scan) -> None:
    try:
        findings = _scanner(path, named)
        result.scanned += findings is not None
        result.others += findings is None
        for each in _other(path) if findings is None else findings:
            (result.unread if isinstance(each, Unread) else result.found).append(each)  # type: ignore[arg-type]
    except _FAULTS as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        result.unread.append(Unread(path, reason.removeprefix(f"{path}: ")))


def _scanner(path: Path, named: bool) -> Iterable[Finding | Unread] | None:
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


def _other(path: Path) -> Iterator[Finding | Unread]:
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


def _hdf5(source: Hdf5Source, where: str) -> Iterator[Finding]:
    yield from hdf5_findings(source, where)
    for name, text in configs_in(source).items():
        yield from _config(text, source.path, name)


def _config(text: bytes, path: Path, where: str) -> Iterator[Finding]:
    try:
        config = strict_json.parse(text)
    except ValueError as error:
        raise CorruptCheckpoint(f"{path}: {where} is damaged: {error}") from error
    yield from config_findings(config, path, where)


def _zip(path: Path) -> Iterator[Finding | Unread]:
    """Yield findings for an archive and for the members that can act."""
    infos = infos_of(path)
    names = frozenset(info.filename for info in infos)
    yield from zip_findings(path, infos)
    acting = [info for info in infos if not (info.is_dir() or are_numbers(info.filename, names))]
    if not acting:
        return
    with opened(path) as whole:
        for info in acting:
            yield from _member(path, info, whole)


def _distributed(path: Path) -> Iterator[Finding | Unread]:
    """Yield findings for the parts of a `.distcp` file: archives of torch.save, one after the other."""
    for part in parts_in(path):
        if isinstance(part, Unread):
            yield part
            continue
        window, where = Window(path, *part), f"byte {part[0]}"
        if window.piece(min(4, window.size), 0) != b"PK\3\4":
            yield from findings_in(cast(IO[bytes], window.readable()), path, path.name, where)
            continue
        infos = members(path, window)
        with opened(path, window) as whole:
            for name, info in infos.items():
                if not are_numbers(name, frozenset(infos)):
                    yield from _member(path, info, whole, f"{where}: ")


def _member(path: Path, info: ZipInfo, whole: ZipFile, before: str = "") -> Iterator[Finding | Unread]:
    """Yield findings for a member of an archive; `before` identifies the archive if the file contains several."""
    name = f"{before}{info.filename}"
    pieces = member_bytes(path, info, name, whole)
    if info.filename == "config.json":
        if info.file_size > LARGEST:
            raise FormatError(f"{path}: {name} has {info.file_size} bytes, and at most {LARGEST} are read")
        yield from _config(b"".join(pieces), path, name)
    elif name.endswith((".h5", ".hdf5")):
        yield from _hdf5(Hdf5Source(path, info.file_size, 0, stamp_of(path), Unpacked(pieces)), name)
    else:
        refuse_packing(path, info, name)
        with Unpacked(pieces).open() as file:
            file.seek(0)
            if name.endswith((".npy", ".pkl", ".pickle")):
                read = array_findings if name.endswith(".npy") else pickle_findings
                yield from read(cast(IO[bytes], file), path, name)
            else:
                yield from findings_in(cast(IO[bytes], file), path, name, name)


_KINDS: tuple[tuple[Callable[[Path, bytes], bool], Callable[[Path], Iterable[Finding | Unread]]], ...] = (
    (lambda path, _: is_record(path), record_findings),
    (lambda path, _: path.suffix == DISTRIBUTED, _distributed),
    (lambda path, _: is_zip(path), _zip),
    (lambda path, _: is_hdf5(path), lambda path: _hdf5(Hdf5Source.of(path), "")),
    (lambda _, start: start.startswith(MAGIC), _array),
    (lambda path, _: path.name == METADATA, _metadata),
    (lambda path, _: path.name in BESIDE, _beside),
    (lambda path, start: bool(start) and is_table(path), lambda path: variable_findings(prefix_of(path))),
    (lambda path, _: path.suffix == ".safetensors", _numbers),
    (lambda path, start: bool(start) and _is_graph(path, start), graph_findings),
    (_is_inert, lambda _: ()),
    (_is_pickle, _pickle),
    (lambda path, _: path.name == MANIFEST, _database),
    (lambda path, _: _is_tree(path), _numbers),
    (_is_chunk, lambda _: ()),
)
"""Predicates on the path and the first bytes of a file, each with its scanner; the first match applies."""
