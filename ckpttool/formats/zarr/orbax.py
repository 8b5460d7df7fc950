"""Orbax checkpoints: folders of JAX arrays in Zarr, as files or in a database, and metadata with their paths.

A step of a CheckpointManager has a folder for each item, or is the folder of one; a folder of steps means the latest.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint, MissingFile
from ckpttool.core.plain_files import is_file, names_in, opened
from ckpttool.core.tensors import Tensor
from ckpttool.formats.flax.kinds import kinds_of
from ckpttool.formats.format import Format, Tensors
from ckpttool.formats.wire import strict_json
from ckpttool.formats.zarr.arrays import TEXT_LIMIT, ZarrTensors
from ckpttool.formats.zarr.described import READ
from ckpttool.formats.zarr.ocdbt import MANIFEST, read_database
from ckpttool.formats.zarr.store import Store, bytes_of, files_in

TREE, STEP = "_METADATA", "_CHECKPOINT_METADATA"
"""The files with the metadata of an item's tree, and of a step."""
TEXTS = "_strings.json"
TEMPORARY = ".orbax-checkpoint-tmp"
"""A part of the names of incomplete folders."""
ITEM_LIMIT = 1000
"""The maximum number of items of a step, and of steps in a folder, that are examined."""


class OrbaxTensors(Tensors):
    """The arrays of a step by their paths (joined by `/`), prefixed with the item's name if there are several items."""

    def __init__(self, folder: Path) -> None:
        """Read the metadata of the arrays.

        Raises:
            MissingFile: there are no arrays, or a listed array is missing.
            CorruptCheckpoint: the metadata is damaged.
            FormatError: files are in another folder, or two arrays of an item have one path; see also `ZarrTensors`.
        """
        items = list(_items(folder))
        if not items:
            raise MissingFile(f"{folder} contains no arrays of Orbax: neither {TREE} nor {MANIFEST} is in it")
        self._owners: dict[str, tuple[ZarrTensors, str]] = {}
        left_out: list[str] = []
        texts: dict[str, str] = {}
        stores = {item: read_database(item) if is_file(item / MANIFEST) else files_in(item) for item in items}
        sizes = {item: bytes_of(store) for item, store in stores.items()}
        for item, store in stores.items():
            above = f"{item.name}/" if len(items) > 1 else ""
            tensors, said = _opened(item, store, sum(sizes.values()) - sizes[item])
            self._owners |= {above + name: (tensors, name) for name in tensors}
            left_out += [above + each for each in tensors.left_out]
            texts |= {above + name: text for name, text in said.items()}
        self.metadata, self.left_out, self.kinds = texts, tuple(left_out), kinds_of(self._owners)

    def __getitem__(self, name: str) -> Tensor:
        tensors, own = self._owners[name]
        return tensors[own].renamed(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)


class Orbax(Format):
    """The format of Orbax, JAX's checkpoint library."""

    NAME = "orbax"
    CHECKSUMS = False
    FRAMEWORK = "flax"
    WHOLE_FOLDER = True
    LIMITS = "is read only, a folder of JAX's arrays: save safetensors; keeps no checksums of values"
    WRITES = False
    INSTEAD = "folders of Orbax are read only; `to` safetensors keeps the same arrays"
    HOLDS = frozenset(READ)

    def recognises(self, path: Path) -> bool:
        """Return whether a path is a folder of arrays, of items, or of steps, or a metadata file in one."""
        return _is_step(_folder(path)) or bool(_steps(_folder(path)))

    def open(self, path: Path) -> OrbaxTensors:
        """Return the arrays, of several steps those of the latest; raises the same errors as `OrbaxTensors`."""
        folder = _folder(path)
        return OrbaxTensors(folder if _is_step(folder) else _steps(folder)[-1])


def _folder(path: Path) -> Path:
    return path.parent if path.name in (MANIFEST, TREE, STEP) and not path.is_dir() else path


def _is_step(folder: Path) -> bool:
    return any(is_file(folder / name) for name in (MANIFEST, TREE, STEP))


def _steps(folder: Path) -> list[Path]:
    """Return the complete steps of a folder in order; their names are numbers, optionally with a prefix."""
    if not folder.is_dir():
        return []
    found = {}
    for path in _folders(folder):
        number = path.name.rpartition("_")[2]
        if number.isdecimal() and len(number) < 19 and is_file(path / STEP):
            found[int(number)] = path
    return [found[number] for number in sorted(found)]


def _items(folder: Path) -> Iterator[Path]:
    """Yield the folders of a step's items; the step itself may be one."""
    if any(is_file(folder / name) for name in (MANIFEST, TREE)):
        yield folder
        return
    yield from (path for path in _folders(folder) if any(is_file(path / name) for name in (MANIFEST, TREE)))


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the subfolders of a folder, without links and incomplete ones."""
    paths = [path for path in map(folder.joinpath, names_in(folder)) if path.is_dir() and TEMPORARY not in path.name]
    for path in paths[:ITEM_LIMIT]:
        if not path.is_symlink():
            yield path


def _opened(folder: Path, store: Store, beside: int) -> tuple[ZarrTensors, Mapping[str, str]]:
    """Return the arrays of a folder by their paths, and its strings; other items have `beside` bytes."""
    tensors = ZarrTensors(folder, store, beside)
    paths = _paths(folder) if is_file(folder / TREE) else {}
    known = tensors.arrays.keys() | tensors.unread
    if missing := [path for key, (path, is_array) in paths.items() if is_array and key not in known]:
        raise MissingFile(f"{folder}: {missing[0]} should be in it, but is missing")
    tensors.renamed({key: path for key, (path, _) in paths.items()})
    return tensors, _texts(folder)


def _paths(folder: Path) -> dict[str, tuple[str, bool]]:
    """Return for each key in the store the value's path in the tree, and whether it is an array."""
    tree = _json(folder / TREE).get("tree_metadata")
    if not isinstance(tree, dict):
        return {}
    found = {}
    for value in tree.values():
        parts = value if isinstance(value, dict) else {}
        keys, about = parts.get("key_metadata"), parts.get("value_metadata")
        names = [each.get("key") for each in keys if isinstance(each, dict)] if isinstance(keys, list) else []
        if not names or not isinstance(about, dict) or not all(isinstance(name, (str, int)) for name in names):
            raise CorruptCheckpoint(f"{folder / TREE}: a value is declared by {str(value)[:80]}")
        is_array = not about.get("skip_deserialize") and about.get("value_type") not in ("None", "string")
        found[".".join(map(str, names))] = "/".join(map(str, names)), is_array
    return found


def _texts(folder: Path) -> dict[str, str]:
    if not is_file(folder / TEXTS):
        return {}
    said = _json(folder / TEXTS)
    return {name: text for name, text in said.items() if isinstance(text, str)}


def _json(path: Path) -> Mapping[str, Any]:
    with opened(path) as file:
        text = file.read(TEXT_LIMIT + 1)
    if len(text) > TEXT_LIMIT:
        raise CorruptCheckpoint(f"{path} has more than {TEXT_LIMIT} bytes, the limit")
    try:
        said = strict_json.loads(text)
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is not valid JSON: {error}") from error
    if not isinstance(said, dict):
        raise CorruptCheckpoint(f"{path} is not an object in JSON")
    return said
