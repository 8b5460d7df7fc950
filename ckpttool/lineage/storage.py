"""Where a lineage is kept: among the texts of a format that keeps such, else in a file beside the output."""

from collections.abc import Mapping
from pathlib import Path

from ckpttool.core.errors import FormatError, MissingFile
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.formats.wire import checked_json
from ckpttool.formats.writing.files import replacing
from ckpttool.lineage.output import KEY, path_beside
from ckpttool.lineage.records import Chain, Source
from ckpttool.remote import sparse_files

MOST_TEXT = 32 << 10
"""Characters of a lineage among a format's texts (an attribute of HDF5 holds 64 KiB); a longer one lies beside."""


def write_beside(output: Path, made: Source, chain: Chain) -> None:
    """Write a lineage beside an output, with the hash of what it is of, and its own checksum."""
    with replacing(path_beside(output)) as file:
        file.write(checked_json.dumps({"output": made.as_json(), **chain.as_json()}))


def text_of(chain: Chain) -> str:
    """Return a lineage as a format keeps it among its texts."""
    return checked_json.dumps(chain.as_json(), indent=None).decode().strip()


def lineage_of(path: Path, metadata: Mapping[str, str]) -> Chain:
    """Return the lineage of what lies at a path and keeps these texts; one without records where it has none.

    A file beside it counts only while what it was written for is there unchanged: others may have written since.

    Raises:
        FormatError: what should be a lineage is none.
    """
    if KEY in metadata:
        return _parsed(metadata[KEY], path)[0]
    for place in dict.fromkeys((path_beside(path), path_beside(prefix_of(path)))):
        if sparse_files.is_there(place):
            chain, output = _parsed(sparse_files.read_bytes(place), place)
            return chain if output and output.now(place.parent) == "unchanged" else Chain()
    return Chain()


def read_lineage(path: Path) -> tuple[Chain, Source | None]:
    """Read the file of a lineage: the chain, and what output it is of.

    Raises:
        MissingFile: it does not exist.
        FormatError: it is not a lineage.
    """
    if not sparse_files.is_there(path):
        raise MissingFile(f"{path} is missing: no such lineage")
    return _parsed(sparse_files.read_bytes(path), path)


def _parsed(text: str | bytes, place: Path) -> tuple[Chain, Source | None]:
    """Read a lineage, and what output it is of where it says so."""
    try:
        document = checked_json.loads(text if isinstance(text, bytes) else text.encode(), is_required=False)
        return Chain.from_json(document), Source.from_json(document["output"]) if "output" in document else None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FormatError(f"{place}: not a lineage: {error!r}") from error
