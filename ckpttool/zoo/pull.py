"""Pulling models from the Hub, web servers and Keras into the catalogue."""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import CARD_TEXTS, Manifest, Row, is_hash, safe_path
from ckpttool.core.errors import CkptError, FormatError, MissingFile, telling
from ckpttool.formats.keras.applications import CACHED, Application, named_path
from ckpttool.formats.keras.scheme import SCHEME
from ckpttool.model.families import Contents, writer_for
from ckpttool.model.model import Model
from ckpttool.remote import servers, web
from ckpttool.remote.paths import without_secrets
from ckpttool.runtime.keras.application import download_weights
from ckpttool.zoo import archives, card
from ckpttool.zoo.choosing import Candidate, chosen
from ckpttool.zoo.describe import described
from ckpttool.zoo.downloads import downloaded
from ckpttool.zoo.hub import HubAddress, Repository
from ckpttool.zoo.sources import ModelFiles
from ckpttool.zoo.store import add

README = "README.md"
"""The file name of a repository's model card."""


@dataclass(frozen=True)
class Fetched:
    """A downloaded model: its path, the files to store, and its publisher's card."""

    path: Path
    model: ModelFiles
    source: Row
    said: Row = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    told: tuple[tuple[object, str], ...] = ()
    """Paths in messages, and what the user asked for instead of each."""

    def added(self, catalogue: Catalogue, name: str, tags: Iterable[str] = ()) -> Manifest:
        """Store the model as the next revision of an entry.

        Raises:
            CkptError: it is not a model, or is damaged.
        """
        with telling(*self.told):
            facts = described(self.path)
            said = {"library_name": facts.library, **self.said}
            return add(catalogue, name, self.model, facts, said, tags, self.source)


def from_hub(address: HubAddress) -> Fetched:
    """Download a model from the Hub: weights, graph, configuration and card.

    Raises:
        MissingFile: the repository does not exist, or contains no model.
        CkptError: the Hub refuses, or cannot be reached.
        CorruptCheckpoint: a file differs from what the Hub lists.
    """
    repository = Repository.at(address)
    candidate, others = chosen(repository.files, address.path, str(address))
    main, names = candidate.names(address.name)
    repository.require_place(candidate.files)
    paths = {file: repository.download(file) for file in candidate.files}
    folder = _root_of(paths)
    said, remarks = _card(repository)
    source = {"url": f"hf://{address.repository}", "revision": repository.commit, "path": candidate.main}
    return Fetched(
        folder / candidate.main,
        ModelFiles(main, {names[file]: path.resolve() for file, path in paths.items()}),
        source,
        said,
        (*_notes(candidate, others, "hf://ORG/MODEL/FILE"), *remarks),
        _told(folder, f"hf://{address.repository}", "/"),
    )


def from_web(url: str, sha256: str | None, stack: ExitStack, folder: Path) -> Fetched:
    """Download a file or an archive from a web server; a path after `#` selects a model in the archive.

    Raises:
        MissingFile: the file does not exist, or the archive contains no model.
        CkptError: the server fails or cannot be reached, or no expected hash is given.
        CorruptCheckpoint: the file has another hash.
    """
    url, _, inside = url.partition("#")
    where = without_secrets(url)
    name, sha256 = safe_path(web_name(url), where), _required_hash(where, sha256)
    remote = web.metadata(url)
    if remote is None:
        raise MissingFile(f"{where} is missing: a model of several files is fetched as an archive, .tar.gz or .zip")
    fetch = partial(_fetch, url, remote)
    came = stack.enter_context(downloaded(where, sha256, remote.size, fetch))
    source = {"url": where, "revision": f"sha256:{sha256}"}
    if not archives.is_archive(name):
        path = came.rename(folder / name)
        return Fetched(path, ModelFiles(name, {name: path}), source, told=((path, where),))
    candidate, others = archives.unpacked(came, inside, where, folder)
    main, names = candidate.names(archives.stem(name))
    files = {names[file]: folder / file for file in candidate.files}
    found = {**source, "path": candidate.main}
    notes, told = _notes(candidate, others, f"{where}#FILE"), _told(folder, where, "#")
    return Fetched(folder / candidate.main, ModelFiles(main, files), found, notes=notes, told=told)


def web_name(url: str) -> str:
    """Return the file name in a URL.

    >>> web_name("https://host/models/my%20model.h5?X-Amz-Signature=1")
    'my model.h5'
    """
    return unquote(urlsplit(url).path).rpartition("/")[2]


def _required_hash(where: str, sha256: str | None) -> str:
    if sha256 is None:
        raise CkptError(
            f"{where}: specify `sha256`, the hash that its publisher states; or download it, and `ckpttool zoo add` "
            f"the file"
        )
    if not is_hash(sha256.lower()):
        raise CkptError(f"`sha256` is {sha256[:80]!r}, expected a SHA-256 of 64 hexadecimal digits")
    return sha256.lower()


def _fetch(url: str, remote: servers.RemoteFile, at: int, take: web.Take) -> None:
    web.fetch(url, remote, at, remote.size, take)


def from_keras(application: Application, folder: Path) -> Fetched:
    """Create a Keras file of an architecture with Keras's pretrained weights, which are downloaded if necessary.

    Raises:
        CkptError: Keras has no such weights, or they cannot be downloaded.
        MissingDependency: TensorFlow or Keras is not installed.
    """
    if application.weights != CACHED:
        raise CkptError(
            f"{SCHEME}{application}: only weights that Keras provides are pulled; `ckpttool zoo add` adds others"
        )
    try:
        application.weights_path()
    except MissingFile:
        download_weights(application)
    model = Model.open(named_path(application))
    output = folder / f"{application.name}.keras"
    told = ((output, f"{SCHEME}{application}"),)
    with telling(*told):
        writer_for(output, output).write(Contents(model.graph, model.checkpoint), output, overwrite=False)
    said = {"library_name": "keras", "pipeline_tag": "image-classification", "tags": [CACHED]}
    source = {"url": f"{SCHEME}{application}", "revision": None}
    return Fetched(output, ModelFiles(output.name, {output.name: output}), source, said, told=told)


def _notes(candidate: Candidate, others: list[str], way: str) -> tuple[str, ...]:
    """Return notes about the selected model, and how to select another one."""
    took = f"took {candidate.main or 'the whole folder'}, {candidate.format}"
    more = [f"it is also available as {', '.join(others)}: {way} selects another one"] if others else []
    return took, *more


def _told(folder: Path, where: str, mark: str) -> tuple[tuple[object, str], ...]:
    """Return what messages name instead of the files in a folder, which came from somewhere."""
    return (f"{folder}/", f"{where}{mark}"), (folder, where)


def _root_of(paths: Mapping[str, Path]) -> Path:
    """Return the local folder that corresponds to the root of a repository."""
    name, path = next(iter(paths.items()))
    return path.parents[name.count("/")]


def _card(repository: Repository) -> tuple[Row, tuple[str, ...]]:
    """Return the card from a repository's README, and notes about errors in it."""
    file = repository.files.get(README)
    if file is None or file.size > card.LONGEST:
        return {}, ()
    text = repository.download(README).read_text(encoding="utf-8", errors="replace")
    try:
        fields = card.parsed(text, f"{repository.address}/{README}")
    except FormatError as error:
        return {"text": text}, (f"{error}; its text is stored, its fields are not",)
    return {key: value for key, value in fields.items() if key not in CARD_TEXTS or isinstance(value, str)}, ()
