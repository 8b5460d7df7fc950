"""Data files: the sources that read what `data` names, and the arrays that they return, which are read on demand.

A source is a module of `sources/`, one per kind of data, with two functions: `recognises(path)` examines the name and
the first bytes, and `read(path, wanted)` returns a DataFile. To add one, write the module and its row in `SOURCES`.
Data that are not arrays of rows on disk (text, records, images) are staged first (`staging.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ckpttool.core.dtypes import DType
from ckpttool.core.errors import DataError
from ckpttool.core.shapes import PartialShape
from ckpttool.core.tensors import Array
from ckpttool.data.named import KINDS, require_there
from ckpttool.data.preprocessing import Steps
from ckpttool.remote.paths import refuse_url_input

if TYPE_CHECKING:
    from ckpttool.data.rows import Rows
    from ckpttool.data.staging import Facts

SOURCES = {
    "keras": "a data set of Keras, keras:mnist",
    "npz": "an .npz",
    "npy": "two .npy parted by a comma, or a folder of x_train.npy, y_train.npy ...",
    "idx": "MNIST's own IDX files, also two parted by a comma or a folder of them",
    "hdf5": "an HDF5 file",
    "csv": "a .csv with a header, or a folder of train.csv, valid.csv ...",
    "parquet": "a .parquet, or a folder of such",
    "tfrecord": "a .tfrecord, or a folder of such",
    "images": "a folder with a folder of images for each class",
}
"""The kinds of data by the modules of `sources` that read them, in the order in which the modules are tried."""
GROUP = "(group)"
"""The name of the array with the rows' groups, as integers, in sources that make arrays themselves."""


@dataclass(frozen=True)
class InputSpec:
    """A placeholder of a graph: op name, shape (None: unknown) and dtype.

    `steps` are its preprocessing, None if unspecified, and `keys` the names that callers use for it.
    """

    name: str
    shape: PartialShape | None
    dtype: DType
    steps: Steps | None = None
    keys: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names that it may have in data, the likeliest first.

        A frozen graph has no signature with the caller's name; TensorFlow appended that to the signature's name.

        >>> from ckpttool.core.dtypes import BY_NAME
        >>> InputSpec("serving_default_left", (None, 2), BY_NAME["float32"]).names
        ['serving_default_left', 'left']
        """
        last = self.name.rpartition("/")[2]
        return list(dict.fromkeys([self.name, last, *self.keys, last.removeprefix("serving_default_")]))


@dataclass(frozen=True)
class Wanted:
    """The placeholders of the inputs and the labels, and how to read the data for them.

    `features` describes the contents of records that do not describe themselves. `beside` names columns of labels that
    the data may contain beside those that are wanted, which are not inputs. `group` names the column of the rows'
    groups, which is not an input either. `classes` are the model's class names in the order of their numbers: if the
    data has class names too, its labels get the model's numbers.
    """

    inputs: tuple[InputSpec, ...] = ()
    labels: InputSpec | None = None
    features: str | None = None
    beside: tuple[str, ...] = ()
    group: str | None = None
    classes: tuple[str, ...] = ()

    def label_names(self) -> list[str]:
        """Return the possible names of the column of labels, the likeliest first."""
        names = self.labels.names if self.labels else self.beside
        return list(dict.fromkeys([*names, "y", "Y", "label", "labels", "class", "target"]))


@dataclass(frozen=True)
class DataFile:
    """The contents of a data file: arrays of rows by name, and notes for the user about how they were made.

    `classes` are the class names of the labels, and `files` the file of each row, by split ("" for none).
    """

    path: Path
    arrays: "Mapping[str, Rows]"
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of_staged(cls, path: Path, staged: "tuple[dict[str, Array], Facts]") -> Self:
        """Return the contents of staged data."""
        arrays, facts = staged
        return cls(path, arrays, tuple(facts.notes), tuple(facts.classes), facts.files)

    def contents(self) -> str:
        """Return the names, shapes and dtypes of the arrays, for error messages."""
        arrays = [f"{name} {list(array.shape)} {array.dtype}" for name, array in self.arrays.items()]
        return ", ".join(arrays) or "nothing"


class InMemory(ABC):
    """Rows in a program's memory, which are read like those of a file; the subclasses are in `data/memory/`.

    `label` describes them in messages. `key` identifies the object, in other processes too.
    """

    def __init__(self, label: str, key: str) -> None:
        """Store the label and the key."""
        self.label, self.key = label, key

    @abstractmethod
    def read(self, wanted: Wanted) -> DataFile:
        """Return the arrays, which depend on `wanted` like those of files."""

    @abstractmethod
    def contents(self) -> str:
        """Return a description of the rows for reports."""

    def __str__(self) -> str:
        return f"{self.label}: {self.contents()}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InMemory) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


Source = str | Path | InMemory
"""A source of rows: a path, or rows in memory."""


def open_data(path: Source, wanted: Wanted | None = None) -> DataFile:
    """Open the data that `data` names, without reading the rows of files that can be mapped.

    Raises:
        MissingFile: the file does not exist.
        DataError: the kind of data is unknown, or the file is invalid.
        CkptError: it is a URL.
    """
    if isinstance(path, InMemory):
        return path.read(replace(wanted or Wanted(), classes=()))
    refuse_url_input(path)
    path = Path(path)
    for name in SOURCES:
        source = import_module(f"ckpttool.data.sources.{name}")
        if source.recognises(path):
            file: DataFile = source.read(path, replace(wanted or Wanted(), classes=()))
            return file
    require_there(path)
    raise DataError(f"{path} is not a known kind of data: data are {KINDS}")


def by_split(folder: Path, suffixes: tuple[str, ...]) -> dict[str | None, list[Path]]:
    """Return a folder's files with the suffixes by the split that their names start with, None for other names."""
    files: dict[str | None, list[Path]] = {}
    for file in sorted(each for each in folder.iterdir() if each.name.lower().endswith(suffixes)):
        split = next((name for name in ("train", "valid", "test") if file.name.lower().startswith(name)), None)
        files.setdefault(split, []).append(file)
    return files
