"""Exporting a catalogue as pages to browse: one that lists the entries, one for each revision."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError
from ckpttool.formats.writing.files import refuse_existing_folder, replacing_folder
from ckpttool.zoo.ancestry import Ancestry
from ckpttool.zoo.index import asked
from ckpttool.zoo.kinship import Kinship, kinship
from ckpttool.zoo.mirrors import to_look_at
from ckpttool.zoo.site.page import Listed, page, page_name

INDEX = "index.html"
"""The page to open."""
MARK = ".ckpttool-pages"
"""The file that marks a folder as an exported catalogue, which may be overwritten."""


@dataclass(frozen=True)
class Exported:
    """The result: the page to open, the numbers of entries and revisions, and manifests that cannot be read."""

    path: Path
    entries: int
    revisions: int
    problems: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"path": str(self.path), "entries": self.entries, "revisions": self.revisions, "problems": self.problems}

    def line(self) -> str:
        """Return it as one line of text."""
        return f"{self.path}: {counted(self.entries, 'entry', 'entries')}, {counted(self.revisions, 'revision')}"


def zoo_export(
    folder: Path,
    overwrite: bool = False,
    root: Path | None = None,
    commands: Callable[[Manifest], Iterable[str]] = lambda _: (),
) -> Exported:
    """Write pages of a catalogue to a folder, atomically.

    Args:
        folder: The folder to write.
        overwrite: Whether an existing export is overwritten.
        root: The catalogue's folder; by default the user's own.
        commands: A function that returns the commands to copy on a revision's page.

    Raises:
        MissingFile: there is no catalogue, or the parent folder does not exist.
        ExistingOutput: the folder exists, and `overwrite` is not set.
        CkptError: the folder is not an exported catalogue.
    """
    refuse_existing_folder(folder, overwrite, lambda path: (path / MARK).is_file())
    catalogue = to_look_at(root)
    manifests, problems = _manifests(catalogue)
    entries = _listed(catalogue, manifests)
    ancestry = Ancestry.of(catalogue, [(each.manifest, each.kinship) for each in entries])
    latest = {each.manifest.name: each for each in entries}
    with replacing_folder(folder) as new:
        (new / MARK).touch()
        _write(new / INDEX, page(list(latest.values()), problems))
        _write_entries(new, entries, ancestry, commands)
    return Exported(folder / INDEX, len(latest), len(entries), problems)


def _manifests(catalogue: Catalogue) -> tuple[list[Manifest], list[str]]:
    """Read all manifests, by name and revision; also return those that cannot be read."""
    found, problems = list[Manifest](), list[str]()
    for name in catalogue.names():
        for revision in catalogue.revisions(name):
            try:
                found.append(catalogue.manifest(name, revision))
            except CkptError as error:
                problems.append(f"{name}@{revision} is skipped: {error}")
    return found, problems


def _listed(catalogue: Catalogue, manifests: list[Manifest]) -> list[Listed]:
    """Return all revisions with their tags and kin."""
    known = {(each.name, each.revision): each for each in manifests}
    tags = {name: catalogue.tags(name) for name in {each.name for each in manifests}}

    def read(name: str, revision: int) -> Manifest:
        if (name, revision) not in known:
            raise CkptError(f"{name}@{revision} was added meanwhile")
        return known[name, revision]

    kin: list[Kinship] = asked(catalogue, lambda index: [kinship(each, index, read) for each in manifests])
    return [
        Listed(each, [tag for tag, revision in tags[each.name].items() if revision == each.revision], own)
        for each, own in zip(manifests, kin, strict=True)
    ]


def _write_entries(
    folder: Path, entries: list[Listed], ancestry: Ancestry, commands: Callable[[Manifest], Iterable[str]]
) -> None:
    """Write the page of each revision."""
    from ckpttool.zoo.site.entry import page as entry_page

    known = {str(each.manifest): each.manifest for each in entries}
    revisions: dict[str, list[int]] = {}
    for each in entries:
        revisions.setdefault(each.manifest.name, []).append(each.manifest.revision)
    (folder / page_name("_", 1)).parent.mkdir()
    for each in entries:
        own = each.manifest
        text = entry_page.page(each, ancestry, revisions[own.name], known, commands(own))
        _write(folder / page_name(own.name, own.revision), text)


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", "backslashreplace"))
