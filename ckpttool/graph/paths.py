"""The file of the graph that a path refers to."""

from pathlib import Path

from ckpttool.core.errors import MissingFile
from ckpttool.core.plain_files import is_file
from ckpttool.core.suggestions import near_names
from ckpttool.formats.tensorflow.prefix import STATE_FILE, V1_SHARD, prefix_of
from ckpttool.formats.wire.table import is_table

SAVED_MODEL_NAMES = ("saved_model.pb", "saved_model.pbtxt")
SUFFIXES = (".meta", ".pb", ".keras", ".h5", ".hdf5")
"""Suffixes of files that may contain a graph; `.meta` may be omitted."""


def find(path: str | Path) -> Path:
    """Return the file of the graph that a path refers to.

    The path is the file itself, a checkpoint's prefix or one of its files (then `PREFIX.meta`), a SavedModel's folder,
    or a run's folder, whose `checkpoint` file names the latest checkpoint.

    Raises:
        MissingFile: there is no graph; the message says what was expected.
    """
    path = Path(path)
    if path.is_dir():
        return _in_folder(path)
    stem = path.name.partition(".data-")[0].removesuffix(".index")
    if path.is_file() and path.suffix != ".meta" and is_table(path):
        stem = V1_SHARD.sub("", stem)
    elif path.is_file() and stem == path.name:
        return path
    beside = path.with_name(f"{stem}.meta")
    if is_file(beside):
        return beside
    if path.suffix == ".meta" and beside.name == f"{path.name}.meta":
        raise MissingFile(f"{path}: no such file")
    files = path.parent.iterdir() if path.parent.is_dir() else ()
    models = sorted(each.name.removesuffix(".meta") for each in files if each.suffix in SUFFIXES)
    near = near_names(path.name, models, 3)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise MissingFile(f"{path}: no graph found: neither a file, a SavedModel folder nor {beside.name}{hint}")


def _in_folder(path: Path) -> Path:
    """Return the graph file of a folder: a SavedModel's, that of a prefix with a final slash, or a run's latest."""
    for name in (*SAVED_MODEL_NAMES, ".meta"):
        if (path / name).is_file():
            return path / name
    if is_file(f"{path}.meta"):
        return path.with_name(f"{path.name}.meta")
    if (path / STATE_FILE).is_file() and is_file(latest := Path(f"{prefix_of(path)}.meta")):
        return latest
    metas = sorted(file.name for file in path.glob("*.meta"))
    hint = f"; it has {', '.join(metas[:5])}: specify one" if metas else ""
    raise MissingFile(f"{path}: a folder without {SAVED_MODEL_NAMES[0]}{hint}")
