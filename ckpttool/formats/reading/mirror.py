"""From a URL to a path where the files that it may mean stand in; what fsspec cannot list is asked for by name."""

from pathlib import Path

from ckpttool.core.errors import CkptError, MissingDependency
from ckpttool.formats.safetensors.index import INDEX_SUFFIX, SUFFIX, Names
from ckpttool.formats.tensorflow import checkpoint_state
from ckpttool.formats.tensorflow.bundle_files import PART
from ckpttool.remote import servers, sparse_files
from ckpttool.remote.paths import is_url, place_of, url_of

VARIABLES = "variables"
IN_FOLDER = (checkpoint_state.NAME, "saved_model.pb", "model" + INDEX_SUFFIX, "model" + SUFFIX)
"""What a folder of a web server, which does not list it, is looked through for."""


def local(path: Path | str) -> Path:
    """Return a path to read from: of a URL, where its files stand in; any other as it is.

    Raises:
        CkptError: the server refuses, or cannot be reached.
        MissingDependency: a package is missing.
    """
    if not is_url(path):
        return Path(path)
    place = place_of(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if not _listed(place):
        _asked(place)
    return place


def _listed(place: Path) -> bool:
    """Put what a server lists: in the folder, else beside the name. Some let files be read that they do not list."""
    if not servers.lists(_url(place)):
        return False
    try:
        if _put_all(place, ""):
            return _put_all(place / VARIABLES, "") or True
        return _put_all(place.parent, _stem(place.name))
    except MissingDependency:
        raise
    except CkptError:
        return False


def _put_all(folder: Path, start: str) -> bool:
    """Put the files of a folder whose names begin so."""
    found = {name: file for name, file in servers.listing(_url(folder)).items() if file and name.startswith(start)}
    for name, file in found.items():
        sparse_files.put(folder / name, file)
    return bool(found)


def _asked(place: Path) -> None:
    """Put what a server has of the names that a checkpoint has.

    Raises:
        CkptError: there is none, because the server refuses.
    """
    refusals: list[CkptError] = []
    if not _put_each(_names(place), refusals):
        place.mkdir(exist_ok=True)
        _put_each([place / name for name in IN_FOLDER], refusals)
        _put_noted(place, refusals)
        if not any(place.iterdir()):
            place.rmdir()
            if refusals:
                raise refusals[0]


def _names(place: Path) -> list[Path]:
    """Return the names of the files that a path may mean: itself, the index and the graph of its prefix."""
    prefix = place.with_name(_stem(place.name))
    names = [place, Path(f"{prefix}.index"), Path(f"{prefix}.meta")]
    return [*names, Names.of(place).index] if place.name.endswith(SUFFIX) else names


def _put_noted(folder: Path, refusals: list[CkptError]) -> None:
    """Put what the files of a folder name: the latest checkpoint, the variables of a SavedModel."""
    if (folder / checkpoint_state.NAME).is_file():
        _put_each(_names(checkpoint_state.latest(folder)), refusals)
    if (folder / "saved_model.pb").is_file():
        _put_each([folder / VARIABLES / f"{VARIABLES}.index"], refusals)


def _put_each(places: list[Path], refusals: list[CkptError]) -> bool:
    """Put those that are there, and say whether any is; who may not list a server's files is refused what is not."""
    found = False
    for place in dict.fromkeys(places):
        try:
            found = sparse_files.renewed(place) is not None or found
        except MissingDependency:
            raise
        except CkptError as error:
            refusals.append(error)
    return found


def _stem(name: str) -> str:
    """Return what the names of a checkpoint's files begin with."""
    return PART.sub("", name).removesuffix(INDEX_SUFFIX).removesuffix(SUFFIX)


def _url(place: Path) -> str:
    return str(url_of(place))
