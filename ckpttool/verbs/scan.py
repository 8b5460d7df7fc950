"""Scan: find what in files could have side effects when they are opened or run, without running it."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.catalogue.local_files import local
from ckpttool.catalogue.names import is_entry
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.remote.paths import is_url, whole_url
from ckpttool.scanning import walk
from ckpttool.scanning.finding import SEVERITIES, Finding, Severity, Unread
from ckpttool.scanning.sarif import sarif as sarif_log

CLEAN, FOUND, UNFINISHED = 0, 1, 2


@dataclass(frozen=True)
class Findings:
    """The findings, the worst first, what was not read, and the number of scanned files."""

    found: tuple[Finding, ...]
    unread: tuple[Unread, ...]
    scanned: int
    others: int

    @property
    def code(self) -> int:
        """Return the exit code: 1 for findings, 2 if not everything could be read, 0 if clean."""
        return FOUND if self.found else UNFINISHED if self.unread else CLEAN

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "clean": self.code == CLEAN,
            "scanned": self.scanned,
            "others": self.others,
            "findings": [each.as_json() for each in self.found],
            "unread": [{"file": str(each.file), "problem": each.problem} for each in self.unread],
        }

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The findings, with one row for all similar ones in a file: `where` is the first."""
        alike: dict[tuple[Any, ...], list[Finding]] = defaultdict(list)
        for each in self.found:
            alike[each.file, each.kind, each.what].append(each)
        more = {key: f" and {len(same) - 1} more" if len(same) > 1 else "" for key, same in alike.items()}
        return [{**same[0].as_json(), "where": f"{same[0].where}{more[key]}"} for key, same in alike.items()]

    def summary(self) -> str:
        """Return the result as one line of text."""
        counts = [sum(each.severity == severity for each in self.found) for severity in SEVERITIES]
        of_each = ", ".join(f"{count} {name}" for count, name in zip(counts, SEVERITIES, strict=True) if count)
        unread = f"; {len(self.unread)} could not be read, and are not clean" if self.unread else ""
        return f"{counted(self.scanned, 'file')} scanned: {of_each or 'nothing found'}{unread}"


def scan(paths: Sequence[Path], least: Severity = "low") -> Findings:
    """Search files for possible side effects: ops of graphs, pickles, Keras configs, HDF5 links, zips, records.

    Nothing is run, unpickled or followed, and TensorFlow is not imported.

    Args:
        paths: Files, folders (recursively), and prefixes of checkpoints.
        least: The minimum severity of the findings to return.

    Raises:
        MissingFile: a path does not exist.
        CkptError: a path is a URL.
    """
    for each in filter(is_url, paths):
        raise CkptError(
            f"{whole_url(each)} is a URL, and only local files are scanned: download it, or store it with "
            "`ckpttool zoo pull` and scan the entry"
        )
    result = walk.scan([local(each) if is_entry(each) else each for each in paths])
    told = SEVERITIES[: SEVERITIES.index(least) + 1]
    found = sorted((each for each in result.found if each.severity in told), key=lambda each: told.index(each.severity))
    return Findings(tuple(found), tuple(result.unread), result.scanned, result.others)


def write_sarif(findings: Findings, path: Path, overwrite: bool = False) -> None:
    """Write the findings as SARIF 2.1.0.

    Raises:
        ExistingOutput: the file exists and `overwrite` is not set.
    """
    refuse_existing([path], overwrite)
    with replacing(path) as file:
        file.write(json.dumps(sarif_log(findings.found, findings.unread), indent=1).encode() + b"\n")
