"""Selection of one model among the files of a repository or archive, by their names alone.

A repository often contains a model in several formats, beside tokenizers, logs and code. One model in one format is
selected: models with a graph are preferred to weights alone, and other formats to pickles. Code is never selected.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from ckpttool.core.errors import CkptError, MissingFile
from ckpttool.core.suggestions import suggestion

BESIDE = ("config.json", "preprocessor_config.json", "metadata.json")
"""Other files that are included from a model's folder."""
_GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
_OF_FOLDER = re.compile(r"saved_model\.pb(txt)?|keras_metadata\.pb|fingerprint\.pb|(variables|assets(\.extra)?)/.+")
_SHARD = re.compile(r"(?P<stem>.+)-\d{5}-of-\d{5}(?P<suffix>\.\w+)")
_DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")
_USUAL = ("model", "pytorch_model", "tf_model", "weights", "variables")
_STATES = re.compile(r"(optimizer|scheduler|scaler|rng_state|training_args)\b.*")
"""PyTorch files that are not models."""
_LISTED = 5


@dataclass(frozen=True)
class Candidate:
    """A model among files: its format, its main path, and its files."""

    format: str
    main: str
    files: tuple[str, ...]
    is_folder: bool = False

    @property
    def folder(self) -> str:
        """The folder of the model, with a trailing slash; empty for the root."""
        return _folder_of(self.main)

    @property
    def rank(self) -> int:
        """The sort key of preference; lower is preferred."""
        return FORMATS.index(self.format)

    @property
    def unusual(self) -> tuple[int, bool]:
        """How much the model's location and name differ from those usual for the only model of a repository."""
        return self.main.count("/"), PurePosixPath(self.main).name.partition(".")[0] not in _USUAL

    def names(self, name: str) -> tuple[str, dict[str, str]]:
        """Return the main path in an entry, and the entry's path of each file; `name` replaces the root folder."""
        if not self.is_folder:
            return self.main[len(self.folder) :], {file: file[len(self.folder) :] for file in self.files}
        main = PurePosixPath(self.main).name or name
        start = len(self.main) + 1 if self.main else 0
        own = {file for file in self.files if file not in self._beside()}
        return main, {file: f"{main}/{file[start:]}" if file in own else _last(file) for file in self.files}

    def _beside(self) -> set[str]:
        return {self.folder + name for name in BESIDE}


def chosen(files: Collection[str], path: str, where: str, mark: str = "/") -> tuple[Candidate, list[str]]:
    """Select the model at `path`, or the most suitable one if `path` is empty; return it and the alternatives.

    Messages call the files `where`, and one of them `where`, `mark` and its path.

    Raises:
        MissingFile: there is no model, or none at the path.
        CkptError: there are several, and none is preferred.
    """
    found = [each for each in candidates(files) if not path or _is_at(each, path)]
    if not found:
        nearest = suggestion(path, files) if path else f"; it has {_listed(sorted(files))}" if files else ""
        raise MissingFile(f"{where} has no model{f' at {path}' if path else ''} in a supported format{nearest}")
    found.sort(key=lambda each: (each.rank, each.unusual))
    best = found[0]
    equals = [each.main for each in found if (each.rank, each.unusual) == (best.rank, best.unusual)]
    if len(equals) > 1:
        raise CkptError(f"{where} has several models: {_listed(equals)}; specify one, such as {where}{mark}{equals[0]}")
    others = list(dict.fromkeys(each.format for each in found if each.format != best.format))
    beside = tuple(best.folder + name for name in BESIDE if best.folder + name in files)
    return Candidate(best.format, best.main, (*best.files, *beside), best.is_folder), others


def candidates(files: Collection[str]) -> Iterator[Candidate]:
    """Yield the models among files in all formats.

    >>> [each.format for each in candidates(["a.safetensors", "b.py", "tf_model.h5", "c.npz"])]
    ['weights in HDF5', 'safetensors', 'NumPy']
    """
    taken = set[str]()
    for each in _saved_models(files):
        taken |= set(each.files)
        yield each
    rest = sorted(set(files) - taken)
    yield from _checkpoints(rest)
    yield from _plain(rest, r".+\.keras", "Keras")
    yield from _plain((each for each in rest if not _is_weights(each)), r".+\.(h5|hdf5)", "HDF5")
    yield from _plain(filter(_is_weights, rest), r".+\.(h5|hdf5)", "weights in HDF5")
    yield from _sharded(rest, r".+\.safetensors", "safetensors")
    yield from _plain(rest, r".+\.npz", "NumPy")
    yield from _plain(rest, r".+\.onnx", "ONNX", beside=(".data", "_data"))
    pickled = [each for each in rest if not _STATES.fullmatch(_last(each))]
    yield from _sharded(pickled, r"(.*/)?pytorch_model[^/]*\.bin|.+\.(pt|pth)", "PyTorch")


FORMATS = (
    "SavedModel",
    "Keras",
    "TensorFlow model",
    "HDF5",
    "TensorFlow checkpoint",
    "safetensors",
    "weights in HDF5",
    "NumPy",
    "ONNX",
    "PyTorch",
)
"""The formats in order of preference."""


def _saved_models(files: Collection[str]) -> Iterator[Candidate]:
    for graph in sorted(each for each in files if _last(each) in _GRAPHS):
        start = _folder_of(graph)
        own = [each for each in files if each.startswith(start) and _OF_FOLDER.fullmatch(each[len(start) :])]
        yield Candidate("SavedModel", start.rstrip("/"), tuple(sorted(own)), is_folder=True)


def _checkpoints(files: Collection[str]) -> Iterator[Candidate]:
    there, data = set(files), dict[str, list[str]]()
    for each in files:
        if part := _DATA.search(each):
            data.setdefault(each[: part.start()], []).append(each)
    for prefix, parts in data.items():
        if f"{prefix}.index" in there:
            graph = [f"{prefix}.meta"] if f"{prefix}.meta" in there else []
            name = "TensorFlow model" if graph else "TensorFlow checkpoint"
            yield Candidate(name, prefix, (f"{prefix}.index", *parts, *graph))


def _plain(files: Iterable[str], pattern: str, name: str, beside: tuple[str, ...] = ()) -> Iterator[Candidate]:
    there = dict.fromkeys(files)
    for each in there:
        if re.fullmatch(pattern, each):
            yield Candidate(name, each, (each, *(each + end for end in beside if each + end in there)))


def _sharded(files: Iterable[str], pattern: str, name: str) -> Iterator[Candidate]:
    """Yield the models of a format: single files, and the shards of a model with their index."""
    shards, there = dict[str, list[str]](), dict.fromkeys(files)
    for each in there:
        if not re.fullmatch(pattern, each):
            continue
        if part := _SHARD.fullmatch(each):
            shards.setdefault(f"{part['stem']}{part['suffix']}.index.json", []).append(each)
        else:
            yield Candidate(name, each, (each,))
    for index, parts in shards.items():
        if index in there:
            yield Candidate(name, index, (index, *parts))


def _is_weights(file: str) -> bool:
    """Return whether an HDF5 file contains only weights, judging by the file names of Keras and Transformers."""
    return _last(file) == "tf_model.h5" or file.endswith(".weights.h5")


def _is_at(candidate: Candidate, path: str) -> bool:
    path = path.rstrip("/")
    return path in (candidate.main, *candidate.files) or (candidate.main + "/").startswith(path + "/")


def _folder_of(path: str) -> str:
    return path[: path.rfind("/") + 1]


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
