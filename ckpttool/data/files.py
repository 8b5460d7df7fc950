"""Files of data: which source reads what `data` names, and the arrays that it gives, each read when asked.

A source is a module of `sources/`, one per kind of data, with two functions: `recognises(path)` looks at names and
first bytes, and `read(path, wanted)` gives a DataFile. To add one, write the module and its row in `SOURCES`; what is
no array of rows on disk (text, records, images) is staged, `staging.py`.
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
"""The kinds of data by the modules of `sources` that read them, in the order in which they are asked."""
GROUP = "(group)"
"""The array of the groups of rows, as a whole number for each, where a source makes arrays itself."""


@dataclass(frozen=True)
class InputSpec:
    """What a graph's placeholder says of itself: op name, shape (None: unknown) and dtype.

    `steps` are its preprocessing, None where nothing is said of that, `keys` what callers name it.
    """

    name: str
    shape: PartialShape | None
    dtype: DType
    steps: Steps | None = None
    keys: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names that data may have for it, the likeliest first.

        A graph that was frozen has no signature that says a caller's name; TensorFlow put it after the signature's own.

        >>> from ckpttool.core.dtypes import BY_NAME
        >>> InputSpec("serving_default_left", (None, 2), BY_NAME["float32"]).names
        ['serving_default_left', 'left']
        """
        last = self.name.rpartition("/")[2]
        return list(dict.fromkeys([self.name, last, *self.keys, last.removeprefix("serving_default_")]))


@dataclass(frozen=True)
class Wanted:
    """The placeholders of the inputs and of the labels; `features` says what records hold, where they do not say it.

    Where no labels are wanted, `beside` names those that may be there all the same, which are not inputs. `group` names
    the column of rows that belong together, which is not an input either. `classes` are the model's names of its
    classes, by their numbers: where the data has names too, its labels get the model's numbers.
    """

    inputs: tuple[InputSpec, ...] = ()
    labels: InputSpec | None = None
    features: str | None = None
    beside: tuple[str, ...] = ()
    group: str | None = None
    classes: tuple[str, ...] = ()

    def label_names(self) -> list[str]:
        """Return the names that a column of labels may have, the likeliest first."""
        names = [self.labels.name] if self.labels else [name.removesuffix(":0") for name in self.beside]
        own = [each for name in names for each in (name, name.rpartition("/")[2])]
        return list(dict.fromkeys([*own, "y", "Y", "label", "labels", "class", "target"]))


@dataclass(frozen=True)
class DataFile:
    """What was found: arrays of rows by name, and what a user should know of how they were made.

    `classes` are the names that labels stand for, and `files` the rows' own files, by split ("" for none).
    """

    path: Path
    arrays: "Mapping[str, Rows]"
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    files: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of_staged(cls, path: Path, staged: "tuple[dict[str, Array], Facts]") -> Self:
        """Return what was staged."""
        arrays, facts = staged
        return cls(path, arrays, tuple(facts.notes), tuple(facts.classes), facts.files)

    def contents(self) -> str:
        """Return the names, shapes and types of the arrays, as an error message shows them."""
        arrays = [f"{name} {list(array.shape)} {array.dtype}" for name, array in self.arrays.items()]
        return ", ".join(arrays) or "nothing"


class InMemory(ABC):
    """Rows that a program has in memory, which are read as those of a file are; `data/memory/` has its kinds.

    `label` is what messages call them. `key` tells one object from others, in other processes too.
    """

    def __init__(self, label: str, key: str) -> None:
        """Take what it is called and known by."""
        self.label, self.key = label, key

    @abstractmethod
    def read(self, wanted: Wanted) -> DataFile:
        """Return the arrays; what they depend on of `wanted` is as for files."""

    @abstractmethod
    def contents(self) -> str:
        """Return what there is, as a report says it."""

    def __str__(self) -> str:
        return f"{self.label}: {self.contents()}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InMemory) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


Source = str | Path | InMemory
"""Where rows are: a path, or in memory."""


def open_data(path: Source, wanted: Wanted | None = None) -> DataFile:
    """Open what `data` names, without reading the rows of what can be mapped.

    Raises:
        MissingFile: there is no such file.
        DataError: it is of no kind that is known, or is not what it should be.
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
    """Return a folder's files of some suffixes by the split that their names begin with; None for other names."""
    files: dict[str | None, list[Path]] = {}
    for file in sorted(each for each in folder.iterdir() if each.name.lower().endswith(suffixes)):
        split = next((name for name in ("train", "valid", "test") if file.name.lower().startswith(name)), None)
        files.setdefault(split, []).append(file)
    return files
