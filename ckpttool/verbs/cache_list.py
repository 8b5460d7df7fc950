"""Listing the feature cache."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ckpttool.core.cache_folder import cache_folder
from ckpttool.data.feature_store import Entry, FeatureStore


def cache_list(root: Path | None = None) -> list[dict[str, Any]]:
    """Return `{"entry", "state", "rows", "tensors", "bytes", "written", "path"}` of each entry of the feature cache.

    The state is `complete`, or `unfinished` if a fill was interrupted, which the same command resumes.

    Args:
        root: The folder of the cache; None is the user's cache folder.
    """
    return [_row(entry) for entry in FeatureStore(root or cache_folder()).entries()]


def _row(entry: Entry) -> dict[str, Any]:
    manifest = entry.manifest
    return {
        "entry": entry.key,
        "state": "complete" if manifest else "unfinished",
        "rows": manifest["rows"] if manifest else None,
        "tensors": [tensor["name"] for tensor in manifest["tensors"]] if manifest else [],
        "bytes": entry.on_disk,
        "written": datetime.fromtimestamp(entry.written, UTC).isoformat(timespec="seconds"),
        "path": str(entry.path),
    }
