"""Findings of a scan: where a file could act when it is opened or run, the severity, the reason, and the remedy."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Severity = Literal["high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""High: code is run, files are written, other machines are contacted. Medium: files are read, or unknown code is run.
Low: it waits, prints, or names a path."""
RULES = {
    "graph/runs-code": "An op of a graph runs code outside of the graph",
    "graph/writes-files": "An op of a graph writes or removes files",
    "graph/reads-files": "An op of a graph reads files",
    "graph/network": "An op of a graph reaches other processes or machines",
    "graph/ends-process": "An op of a graph ends the process",
    "graph/prints": "An op of a graph prints",
    "graph/waits": "An op of a graph waits for others, or belongs to a data pipeline",
    "graph/unknown-op": "An op of a graph is not among those known to only compute",
    "graph/hidden-graph": "A value contains a graph, whose ops could act",
    "graph/asset-path": "An asset of a SavedModel is outside of its folder",
    "pickle/acts": "A pickle refers to a function that acts",
    "pickle/class": "A pickle refers to unknown code",
    "pickle/computed": "A pickle computes the name of what it calls",
    "keras/code": "A Keras config contains code, or calls it by name",
    "keras/class": "A Keras config refers to a class that is not one of Keras's",
    "keras/path": "A Keras config refers to a file or a server",
    "hdf5/link": "A link refers to outside of an HDF5 file",
    "hdf5/storage": "The values of an HDF5 dataset are in another file",
    "hdf5/filter": "An HDF5 dataset needs a plug-in",
    "zip/member": "A member of a zip is a link, is placed outside of it, or decompresses to excess",
    "zip/hidden": "Bytes of a zip that are not in its directory",
    "file/link": "A link refers to outside of the folder",
    "file/special": "A FIFO, socket or device in place of a file",
    "record/path": "A record refers to files elsewhere",
}
"""A short description of each kind of finding."""


@dataclass(frozen=True)
class Finding:
    """One finding; `where` is the location in the file and `what` its content there, both unescaped."""

    file: Path
    kind: str
    where: str
    what: str
    severity: Severity
    reason: str
    helps: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields for JSON, which are also the columns of the table."""
        return asdict(self) | {"file": str(self.file)}


@dataclass(frozen=True)
class Unread:
    """A file that could not be read completely, and the reason; such a file does not count as clean."""

    file: Path
    problem: str
