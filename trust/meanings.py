"""Bits of files that have no effect on what is read: each is in a named field of the format."""

import io
import json
import re
import struct
import zipfile
from pathlib import Path


def meaning(file: Path, data: bytes, damaged: bytes) -> str:
    """Return the name of the differing field if it has no effect, else `unknown`."""
    at = next(at for at, byte in enumerate(data) if damaged[at : at + 1] != bytes([byte]))
    if file.suffix == ".json":
        return "another spelling of the same JSON" if _json(data) == _json(damaged) else "unknown"
    if data.startswith(b"SQLite format 3"):
        return in_sqlite(data, at)
    return in_zip(data, at) if zipfile.is_zipfile(io.BytesIO(data)) else "unknown"


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return data


def in_zip(data: bytes, at: int) -> str:
    """Return the name of the zip field at an offset."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        directory = archive.start_dir
        for info in archive.infolist():
            offset = info.header_offset
            name, extra = struct.unpack_from("<2H", data, offset + 26)
            packed = offset + 30 + name + extra
            if at in (offset + 4, offset + 5):
                return "version needed"
            if packed - extra <= at < packed:
                return "padding, and fields that nothing needs"
            if packed <= at < packed + info.compress_size and info.compress_type == zipfile.ZIP_DEFLATED:
                return "packed bits that unpack to the same"
            fields = {4: "version made by", 6: "version needed", 36: "internal attributes", 38: "external attributes"}
            for field, label in fields.items():
                if directory + field <= at < directory + field + (4 if field == 38 else 2):
                    return label
            directory += 46 + name + len(info.extra) + len(info.comment)
        if data[directory : directory + 4] == b"PK\6\6" and directory + 12 <= at < directory + 16:
            return "versions of the end record"
    return "unknown"


HEADER = {
    (18, 20): "versions of the file format",
    (20, 24): "bytes left at a page's end, and fractions that are fixed",
    (24, 28): "counter of changes",
    (28, 32): "size in pages, which the file's own size says",
    (32, 40): "list of free pages",
    (40, 44): "counter of changes of the schema",
    (44, 48): "format of the schema",
    (48, 52): "suggested size of a cache",
    (52, 56): "pages for a vacuum",
    (56, 60): "bits of the texts' encoding beyond two",
    (60, 64): "version of the program",
    (64, 68): "pages for a vacuum",
    (72, 92): "reserved",
    (92, 100): "version of SQLite that wrote it",
}


def in_sqlite(data: bytes, at: int) -> str:
    """Return the name of the part of a database (https://www.sqlite.org/fileformat.html) at an offset."""
    if at < 100:
        return next((label for (low, high), label in HEADER.items() if low <= at < high), "unknown")
    size = struct.unpack_from(">H", data, 16)[0]
    page = at // size * size
    start = page + (100 if page == 0 else 0)
    kind, free, cells, content = struct.unpack_from(">BHHH", data, start)
    pointers = start + (8 if kind > 5 else 12)
    if pointers + 2 * cells <= at < page + (content or 65536):
        return "room of a page that holds nothing"
    for cell in struct.unpack_from(f">{cells}H", data, pointers) if kind == 13 else ():
        after = page + cell + (2 if data[page + cell] & 0x80 else 1)
        if at == after and re.search(rb"table|index", data[after : after + 14]):
            return "number of a row in the list of tables"
    while free:
        following, length = struct.unpack_from(">HH", data, page + free)
        if free + 4 <= at - page < free + length:
            return "room of a page that holds nothing"
        free = following
    return "unknown"
