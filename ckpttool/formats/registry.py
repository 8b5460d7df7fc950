"""The registry of formats: a line for each, imported when it is first used.

The format is detected by a file's bytes first, then by its suffix. Formats are tried in the order of the table. To add
one: a class derived from `formats.format.Format`, a line here, a class of conformance tests and a fixture. Other
packages add theirs under the entry point group `ckpttool.formats`.
"""

import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast

from ckpttool.core.errors import CkptError, FormatError, MissingDependency, MissingFile
from ckpttool.core.suggestions import near_names
from ckpttool.formats.format import Format
from ckpttool.formats.tensorflow.prefix import PART, SAVED_MODEL_GRAPHS, STATE_FILE, prefix_of
from ckpttool.formats.unread import recognised
from ckpttool.formats.writing.staging import settle
from ckpttool.remote import sparse_files
from ckpttool.remote.paths import refuse_url_input

BUILTIN = {
    "saved-model": "ckpttool.formats.tensorflow.saved_model:SavedModel",
    "object": "ckpttool.formats.tensorflow.object_checkpoint:ObjectCheckpoint",
    "bundle": "ckpttool.formats.tensorflow.bundle:Bundle",
    "v1": "ckpttool.formats.tensorflow.v1:V1",
    "safetensors": "ckpttool.formats.safetensors.format:Safetensors",
    "torch-distributed": "ckpttool.formats.pytorch.distributed:Distributed",
    "torch": "ckpttool.formats.pytorch.format:PyTorch",
    "npz": "ckpttool.formats.npz.npz:Npz",
    "torch-zero": "ckpttool.formats.pytorch.zero:Zero",
    "keras": "ckpttool.formats.keras.archive:KerasArchive",
    "keras-weights": "ckpttool.formats.keras.weights:KerasWeights",
    "keras-legacy": "ckpttool.formats.keras.legacy:KerasLegacy",
    "hdf5": "ckpttool.formats.hdf5.format:Hdf5",
    "onnx": "ckpttool.formats.onnx.format:Onnx",
    "gguf": "ckpttool.formats.gguf.format:Gguf",
    "flax": "ckpttool.formats.flax.format:Flax",
    "orbax": "ckpttool.formats.zarr.orbax:Orbax",
    "zarr": "ckpttool.formats.zarr.format:Zarr",
    "tfjs": "ckpttool.formats.tfjs.format:Tfjs",
    "tflite": "ckpttool.formats.tflite.format:Tflite",
    "caffe": "ckpttool.formats.caffe.format:Caffe",
    "darknet": "ckpttool.formats.darknet.format:Darknet",
    "frozen": "ckpttool.formats.tensorflow.frozen_graph:FrozenGraph",
    "npy": "ckpttool.formats.npz.npy:Npy",
}
OF_PREFIXES = ("saved-model", "object", "bundle", "v1")
"""The formats of which a `.meta` may be one of several files; in no other is it a part."""
FOREIGN_SUFFIXES = (
    *(".bin", ".json", ".pt", ".pth", ".npy", ".npz", ".pb", ".onnx", ".gguf", ".msgpack", ".meta"),
    *(".tflite", ".caffemodel", ".weights"),
)
"""Suffixes of formats: an output with one is of that format, or refused, and never a bundle with an odd prefix."""
_META_GRAPH = b"\n"
"""The first byte of a binary MetaGraphDef."""
_MISTYPED = 0.83
"""Minimum similarity of a suffix to that of a format for it to be a typing error: `.safetensor`, `.kears`."""


@cache
def _added() -> dict[str, str]:
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    return {entry.name: entry.value for entry in entry_points(group="ckpttool.formats")}


@cache
def _load(location: str) -> Format:
    module, _, name = location.partition(":")
    try:
        return cast(Format, getattr(import_module(module), name)())
    except (ImportError, AttributeError) as error:
        raise MissingDependency(f"the format {location}, which a package adds, cannot be loaded: {error}") from error


def names() -> list[str]:
    """Return the names of all formats.

    >>> names()[:2]
    ['saved-model', 'object']
    """
    return [*BUILTIN, *(name for name in _added() if name not in BUILTIN)]


def every() -> Iterator[Format]:
    """Yield all formats; those of other packages are loaded only after ours."""
    yield from map(get, BUILTIN)
    yield from _of_packages()


def _of_packages() -> Iterator[Format]:
    yield from (get(name) for name in _added() if name not in BUILTIN)


def get(name: str) -> Format:
    """Return the format with a name.

    Raises:
        CkptError: no format has the name.
        MissingDependency: it belongs to another package, which cannot be loaded.
    """
    location = BUILTIN.get(name) or _added().get(name)
    if location is None:
        raise CkptError(f"no format is named {name!r}; known: {', '.join(names())}")
    return _load(location)


def find(path: Path) -> Format:
    """Return the format of the checkpoint at a path.

    Raises:
        MissingFile: the path does not exist, or is a folder without a checkpoint; the message has the nearest names.
        FormatError: it is not a checkpoint in any format.
    """
    require_there(path)
    for candidate in _possible(path):
        if candidate.recognises(path):
            return candidate
    raise _explain(path)


def _possible(path: Path) -> Iterator[Format]:
    """Yield the formats that a path may have: for a graph (`.meta`), loading all takes longer than reading it."""
    if path.suffix == ".meta" and path.is_file():
        with sparse_files.opened(path) as file:
            if file.read(1) == _META_GRAPH:
                yield from map(get, OF_PREFIXES)
                yield from _of_packages()
                return
    yield from every()


def require_there(path: Path) -> None:
    """Check that a path, or one that begins with its name, exists, so that no format is loaded for a mistyped name.

    Raises:
        MissingFile: it does not; the message has the nearest names.
    """
    settle(path)
    if os.path.lexists(path):
        return
    prefix = prefix_of(path)
    try:
        beside = [each.name for each in prefix.parent.iterdir()]
    except FileNotFoundError:
        beside = []
    except OSError:
        return  # a folder that must not be listed may have it
    if not any(name.startswith(prefix.name) for name in beside):
        raise _missing(path, prefix, beside)


def for_output(path: Path, name: str | None = None, like: Path | None = None) -> Format:
    """Return the format to write: the named one, else that of the suffix, else that of `like`, else a bundle.

    A suffix of several formats (`.h5`) means that of `like` if it is one of these.

    >>> for_output(Path("weights.npz")).NAME, for_output(Path("model-1000")).NAME
    ('npz', 'bundle')

    Raises:
        CkptError: no format has the name, or `like` is a URL.
        FormatError: the suffix is that of a read-only format, or nearly that of a format.
    """
    if like is not None:
        refuse_url_input(like)
    if name is not None:
        return get(name)
    for candidate in every() if "." in path.name else _of_packages():  # loading ours takes as long as most edits
        if suffix := next((each for each in candidate.SUFFIXES if each and path.name.endswith(each)), None):
            return candidate if like is None else _alike(suffix, like) or candidate
    if meant := suffix_of_files(path):
        named = [(each.NAME, ", ".join(filter(None, each.SUFFIXES))) for each in every() if each.WRITES]
        known = ", ".join(f"{name} ({suffixes})" for name, suffixes in named if suffixes)
        nearest = f"; nearest: {meant}" if meant != path.suffix else ""
        raise FormatError(f"{path}: no format writes {path.suffix} files; known suffixes: {known}{nearest}")
    return get("bundle") if like is None else find(like)


def suffix_of_files(path: Path) -> str | None:
    """Return the suffix of files, not of TensorFlow's prefixes, that a path ends in, or the one that was mistyped.

    >>> suffix_of_files(Path("new.npz")), suffix_of_files(Path("new.kears")), suffix_of_files(Path("model.ckpt2"))
    ('.npz', '.keras', None)
    """
    if not path.suffix:
        return None
    known = [*FOREIGN_SUFFIXES, *(suffix for each in every() if each.NAME != "bundle" for suffix in each.SUFFIXES)]
    return next(iter(near_names(path.suffix, list(filter(None, known)), 1, _MISTYPED)), None)


def _alike(suffix: str, like: Path) -> Format | None:
    """Return the format of `like` if an output with this suffix may be a copy of such a file."""
    copied = (each for each in every() if suffix in each.LIKE_SUFFIXES)
    return next((each for each in copied if each.recognises(like)), None)


def _explain(path: Path) -> CkptError:
    """Return the error for a path at which nothing can be opened, with the remedy."""
    prefix = prefix_of(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        return FormatError(f"{path} is a pipe or a device, not a file: write its output to a file first")
    if path.is_dir() and prefix.name in SAVED_MODEL_GRAPHS:
        lacks = f"{path / 'variables' / 'variables'}.index is missing, and no constant of {prefix.name} is a weight"
        return MissingFile(f"{path} is a SavedModel without variables: {lacks}")
    neighbours = sorted(prefix.parent.iterdir()) if prefix.parent.is_dir() else []
    parts = [part for part in neighbours if PART.sub("", part.name) == prefix.name and part != prefix]
    if parts:
        there = ", ".join(part.name for part in parts[:3])
        return MissingFile(f"{prefix}.index is missing: there is {there}, but a checkpoint needs its index")
    if path.is_file() or (path.is_dir() and recognised(path)):
        return _not_read(path)
    if prefix != path:
        return MissingFile(f"{prefix}.index is missing: {path} refers to the checkpoint {prefix.name}")
    return _missing(path, prefix, [part.name for part in neighbours])


def _not_read(path: Path) -> FormatError:
    """Return the error for a file in an unsupported format, with the command that converts it to a supported one."""
    from ckpttool.formats.patch.file import is_patch  # needs NumPy, which most callers do not

    hint = None
    if path.name == STATE_FILE:
        hint = f"it refers to those of {path.parent}: specify that folder"
    elif path.is_file() and is_patch(path):
        hint = "it is a patch, which `ckpttool apply-patch` applies to its base"
    elif path.is_file():
        with sparse_files.opened(path) as file:
            pointer = file.read(24) == b"version https://git-lfs."
        hint = "it is a Git LFS pointer, `git lfs pull` fetches the file" if pointer else None
    if hint is None and (said := recognised(path)):
        return FormatError(f"{path} {said}")
    return FormatError(f"{path} is not a checkpoint ({', '.join(names())}): {hint or 'its bytes are none of these'}")


def _missing(path: Path, prefix: Path, beside: Sequence[str]) -> MissingFile:
    """Return the error for a path that does not exist, with the nearest names beside it."""
    known = sorted({PART.sub("", name) for name in beside} - {""})
    near = near_names(prefix.name, known, 3)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    return MissingFile(f"{path} is missing: no such model or checkpoint{hint}")
