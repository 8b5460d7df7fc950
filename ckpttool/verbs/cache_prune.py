"""Pruning the feature cache."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ckpttool.core.cache_folder import cache_folder
from ckpttool.data.feature_store import Entry, FeatureStore

DAY = 24 * 3600


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be: entries and bytes; the number of kept entries, and of those being filled."""

    removed: tuple[str, ...]
    nbytes: int
    kept: int
    busy: tuple[str, ...] = ()


def cache_prune(
    root: Path | None = None,
    every: bool = False,
    days: float | None = None,
    most: int | None = None,
    dry_run: bool = False,
) -> Pruned:
    """Remove entries of the feature cache; they are recomputed when needed.

    Args:
        root: The folder of the cache; None is the user's cache folder.
        every: Remove all entries.
        days: Remove entries older than this number of days.
        most: Remove the oldest entries until the rest has at most this many bytes.
        dry_run: Return the result without removing anything.

    Without `every`, `days` and `most`, interrupted fills are removed, but none in progress.
    """
    entries = FeatureStore(root or cache_folder()).entries()
    chosen = list(_chosen(entries, every, days, most))
    sizes = {entry.key: entry.on_disk for entry in chosen}
    removed = [entry.key for entry in chosen if dry_run or entry.remove()]
    busy = tuple(entry.key for entry in chosen if entry.key not in removed)
    return Pruned(tuple(removed), sum(sizes[key] for key in removed), len(entries) - len(removed), busy)


def _chosen(entries: list[Entry], every: bool, days: float | None, most: int | None) -> Iterator[Entry]:
    """Yield the entries to remove."""
    left = sum(entry.on_disk for entry in entries)
    unsaid = days is None and most is None
    for entry in sorted(entries, key=lambda each: each.written):
        old = days is not None and time.time() - entry.written > days * DAY
        full = most is not None and left > most
        if every or old or full or (unsaid and not entry.is_complete()):
            left -= entry.on_disk
            yield entry
