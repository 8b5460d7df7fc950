"""Storing a lineage: in the metadata of the output if its format has metadata, else in a file beside it."""

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
"""The maximum length of a lineage in metadata (an HDF5 attribute has at most 64 KiB); longer ones are beside it."""


def write_beside(output: Path, made: Source, chain: Chain) -> None:
    """Write a lineage beside an output, with the output's hash, and its own checksum."""
    with replacing(path_beside(output)) as file:
        file.write(checked_json.dumps({"output": made.as_json(), **chain.as_json()}))


def text_of(chain: Chain) -> str:
    """Return a lineage in the form for metadata."""
    return checked_json.dumps(chain.as_json(), indent=None).decode().strip()


def lineage_of(path: Path, metadata: Mapping[str, str]) -> Chain:
    """Return the lineage of an output at a path with this metadata; an empty one if it has none.

    A file beside the output counts only if the output is unchanged since, because other programs may have written it.

    Raises:
        FormatError: the lineage is malformed.
    """
    if KEY in metadata:
        return _parsed(metadata[KEY], path)[0]
    for place in dict.fromkeys((path_beside(path), path_beside(prefix_of(path)))):
        if sparse_files.is_there(place):
            chain, output = _parsed(sparse_files.read_bytes(place), place)
            return chain if output and output.now(place.parent) == "unchanged" else Chain()
    return Chain()


def read_lineage(path: Path) -> tuple[Chain, Source | None]:
    """Return the lineage in a file, and its output (None if the file does not contain it).

    Raises:
        MissingFile: the file does not exist.
        FormatError: it is not a lineage.
    """
    if not sparse_files.is_there(path):
        raise MissingFile(f"{path} is missing: no such lineage")
    return _parsed(sparse_files.read_bytes(path), path)


def _parsed(text: str | bytes, place: Path) -> tuple[Chain, Source | None]:
    """Parse a lineage, and its output if it contains one."""
    try:
        document = checked_json.loads(text if isinstance(text, bytes) else text.encode(), is_required=False)
        return Chain.from_json(document), Source.from_json(document["output"]) if "output" in document else None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FormatError(f"{place}: not a lineage: {error!r}") from error
