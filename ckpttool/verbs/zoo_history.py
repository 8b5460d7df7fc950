"""The history of an entry: its revisions, and how each differs from the one before."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckpttool.catalogue.manifest import Manifest
from ckpttool.zoo.index_file import listed
from ckpttool.zoo.mirrors import to_look_at


def zoo_history(name: str, root: Path | None = None) -> list[dict[str, Any]]:
    """Return a row for each revision of an entry, the latest first; `changed` are the tensors that differ from before.

    Raises:
        UnknownName: the entry does not exist.
        CorruptCheckpoint: a manifest is damaged.
    """
    catalogue = to_look_at(root)
    manifests = [catalogue.manifest(name, revision) for revision in catalogue.require_entry(name)]
    tags = catalogue.tags(name)
    rows = [
        {
            "revision": own.revision,
            "named": [tag for tag, revision in tags.items() if revision == own.revision],
            **listed(own),
            **_difference(before, own),
        }
        for before, own in zip([None, *manifests], manifests, strict=False)
    ]
    return rows[::-1]


def _difference(before: Manifest | None, own: Manifest) -> dict[str, Sequence[str] | None]:
    if before is None:
        return {"changed": None, "gone": None}
    held = {row["name"]: row["sha256"] for row in before.tensors}
    here = {row["name"]: row["sha256"] for row in own.tensors}
    changed = [name for name, sha256 in here.items() if held.get(name) != sha256]
    return {"changed": changed, "gone": [name for name in held if name not in here]}
