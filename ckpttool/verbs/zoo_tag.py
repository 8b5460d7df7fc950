"""Tags: names of revisions of an entry, which can be moved to another revision."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.names import require_name, selector
from ckpttool.core.errors import UnknownName
from ckpttool.core.suggestions import suggestion
from ckpttool.zoo.store import set_tag


def zoo_tag(
    entry: str, tags: Iterable[str] = (), delete: Iterable[str] = (), root: Path | None = None
) -> dict[str, int]:
    """Set tags of a revision, `N@2` or the latest of `N`, and delete others. Return all tags of the entry.

    Raises:
        UnknownName: the revision, or a tag to delete, does not exist.
        CkptError: a tag is invalid.
    """
    catalogue = Catalogue.open(root)
    which, tags = selector(entry), [require_name(tag, "tag") for tag in tags]
    revision = catalogue.revision_of(which)
    held = catalogue.tags(which.name)
    for tag in (delete := list(delete)):
        if tag not in held:
            raise UnknownName(f"{which.name} has no tag {tag}{suggestion(tag, held)}")
    for tag in tags:
        set_tag(catalogue, which.name, tag, revision)
    for tag in delete:
        with contextlib.suppress(FileNotFoundError):
            catalogue.inside(catalogue.tag_path(which.name, tag)).unlink()
    return catalogue.tags(which.name)
