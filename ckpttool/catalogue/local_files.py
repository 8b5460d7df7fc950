"""Local paths for `zoo:NAME`, and for URLs, with sparse files for the remote files that a URL may refer to.

If fsspec can list the folder, all files that belong together are created. A web server has no listings: it is queried
for each file name that the formats declare (`Format.files_beside`, `IN_FOLDER`, `files_named_in`).
"""

from pathlib import Path

from ckpttool.catalogue.names import is_entry
from ckpttool.core.errors import CkptError, MissingDependency
from ckpttool.formats import registry
from ckpttool.remote import server_errors, servers, sparse_files
from ckpttool.remote.paths import is_url, path_of, url_of

MOST_NAMED = 1000
"""The maximum number of files that are requested because a file on a server names them: an index may list thousands."""


def local(path: Path | str) -> Path:
    """Return a path to read: for a URL that of its sparse files, for `zoo:NAME` that of the entry; others unchanged.

    Raises:
        CkptError: the server refuses or cannot be reached, or the catalogue has no such entry.
        MissingDependency: a package is missing.
    """
    if is_entry(path):
        from ckpttool.catalogue.placing import path_of as path_of_entry  # not needed for most paths

        return path_of_entry(path)
    if not is_url(path):
        return Path(path)
    here = path_of(path)
    here.parent.mkdir(parents=True, exist_ok=True)
    if not _put_listed(here):
        _put_by_name(here)
    return here


def _put_listed(path: Path) -> bool:
    """Create the files that a server lists in the folder, else beside the path; return False without a listing.

    Some servers support reading, but no listings.
    """
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
    """Create the files of a folder whose names begin with `start`; return whether there are any."""
    listing = servers.listing(str(url_of(folder)))
    files = {name: file for name, file in listing.items() if file and name.startswith(start)}
    for name, file in files.items():
        sparse_files.put(folder / name, file)
    return bool(files)


def _put_by_name(path: Path) -> None:
    """Create the files that a server has among the names that the path may refer to, as a file or as a folder.

    Raises:
        CkptError: there are none, and the server refused a request; or one failed, and the file may exist.
    """
    formats, refusals = list(registry.every()), list[CkptError]()
    if _put_each([path, *(beside for each in formats for beside in each.files_beside(path))], refusals):
        return
    path.mkdir(exist_ok=True)
    _put_each([path / name for each in formats for name in each.IN_FOLDER], refusals)
    for each in formats:
        if any((path / name).is_file() for name in each.IN_FOLDER):
            _put_each(each.files_named_in(path)[:MOST_NAMED], refusals)  # others are requested when they are read
    if not any(path.iterdir()):
        path.rmdir()
        if refusals:
            raise refusals[0]


def _put_each(paths: list[Path], refusals: list[CkptError]) -> bool:
    """Create the files that exist, and return whether any does; refusals are appended to `refusals`.

    A server that forbids listings also refuses requests of missing files. After any other error a file may exist: a
    model without its graph would be another model.

    Raises:
        CkptError: a request failed for another reason.
    """
    any_there = False
    for path in dict.fromkeys(paths):
        try:
            any_there = sparse_files.refreshed(path) is not None or any_there
        except MissingDependency:
            raise
        except CkptError as error:
            if not server_errors.is_refusal(error):
                raise
            refusals.append(error)
    return any_there
