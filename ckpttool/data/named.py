"""Paths of data: whether what `data` names exists, which is checked before anything is opened."""

from pathlib import Path

from ckpttool.core.errors import MissingFile
from ckpttool.remote.paths import refuse_url_input

KINDS = ".npz, .npy, IDX, HDF5, .csv, .parquet, .tfrecord, folders of these or of images by class, keras:NAME"
_KERAS = "keras:"


def paths_of(path: Path) -> list[Path]:
    """Return the paths of a comma-separated list; an existing path may contain a comma.

    >>> [str(each) for each in paths_of(Path("x.npy,y.npy"))]
    ['x.npy', 'y.npy']
    """
    return [path] if path.exists() else [Path(text.strip()) for text in str(path).split(",")]


def require_data(path: Path) -> None:
    """Check that the data that `data` names exist.

    Raises:
        MissingFile: a file does not exist.
        CkptError: it is a URL.
    """
    refuse_url_input(path)
    if not str(path).startswith(_KERAS):
        require_there(path)


def require_there(path: Path) -> None:
    """Check that data files exist, all of a comma-separated list.

    Raises:
        MissingFile: one does not.
    """
    if missing := [each for each in paths_of(path) if not each.exists()]:
        named = path if len(missing) == len(paths_of(path)) else missing[0]
        raise MissingFile(f"{named}: no such file; data are {KINDS}")
