"""From a URL to a local path: sparse files are put there for the remote files that the URL may stand for.

Where fsspec can list a folder, all that belongs together is put there. A web server lists nothing: it is asked, name by
name, for what the formats declare (`Format.files_beside`, `IN_FOLDER`, `files_named_in`).
"""

from pathlib import Path

from ckpttool.catalogue.names import is_entry
from ckpttool.core.errors import CkptError, MissingDependency
from ckpttool.formats import registry
from ckpttool.remote import servers, sparse_files
from ckpttool.remote.paths import is_url, path_of, url_of


def local(path: Path | str) -> Path:
    """Return a path to read from: for a URL its sparse files', for `zoo:NAME` the entry's; any other as it is.

    Raises:
        CkptError: the server refuses, or cannot be reached; or the catalogue has no such entry.
        MissingDependency: a package is missing.
    """
    if is_entry(path):
        from ckpttool.catalogue.placing import path_of as path_of_entry  # which most paths do not need

        return path_of_entry(path)
    if not is_url(path):
        return Path(path)
    here = path_of(path)
    here.parent.mkdir(parents=True, exist_ok=True)
    if not _put_listed(here):
        _put_by_name(here)
    return here


def _put_listed(path: Path) -> bool:
    """Put what a server lists, in the folder, else beside the name; some servers list nothing and can be read."""
    if not servers.lists(str(url_of(path))):
        return False
    try:
        if _put_folder(path, ""):
            _put_folder(path / "variables", "")
            return True
        stem = path.name
        for each in registry.every():
            stem = each.stem(stem)
        return _put_folder(path.parent, stem)
    except MissingDependency:
        raise
    except CkptError:
        return False


def _put_folder(folder: Path, start: str) -> bool:
    """Put the files of a folder whose names begin with `start`; return whether there are any."""
    listing = servers.listing(str(url_of(folder)))
    files = {name: file for name, file in listing.items() if file and name.startswith(start)}
    for name, file in files.items():
        sparse_files.put(folder / name, file)
    return bool(files)


def _put_by_name(path: Path) -> None:
    """Put what a server has of the names that a path may stand for, as a file or as a folder.

    Raises:
        CkptError: there is none, because the server refuses.
    """
    formats, refusals = list(registry.every()), list[CkptError]()
    if _put_each([path, *(beside for each in formats for beside in each.files_beside(path))], refusals):
        return
    path.mkdir(exist_ok=True)
    _put_each([path / name for each in formats for name in each.IN_FOLDER], refusals)
    for each in formats:
        if any((path / name).is_file() for name in each.IN_FOLDER):
            _put_each(each.files_named_in(path), refusals)
    if not any(path.iterdir()):
        path.rmdir()
        if refusals:
            raise refusals[0]


def _put_each(paths: list[Path], refusals: list[CkptError]) -> bool:
    """Put those that are there; return whether any is. A server that allows no listing refuses what is not there."""
    any_there = False
    for path in dict.fromkeys(paths):
        try:
            any_there = sparse_files.refreshed(path) is not None or any_there
        except MissingDependency:
            raise
        except CkptError as error:
            refusals.append(error)
    return any_there
