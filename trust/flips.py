"""Every single-bit flip and every truncation of small files: found, or of a bit without meaning, which is named.

python trust/flips.py [--step N] [NAME ...]
"""

import argparse
import collections
import io
import struct
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import samples


def flips(data: bytes, step: int) -> Iterator[tuple[int, bytes]]:
    """Yield each bit's number with the bytes in which it is another."""
    for bit in range(0, 8 * len(data), step):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(flipped)


def attack(name: str, step: int, folder: Path) -> dict[str, int]:
    """Try the flips and the prefixes of a sample."""
    path = folder / name
    samples.WITH_CHECKSUMS[name](path)
    data, right = path.read_bytes(), (samples.read(path), samples.verified(path))
    assert not any(each.startswith("refused") for each in right), right
    counts: collections.Counter[str] = collections.Counter()
    for bit, flipped in flips(data, step):
        outcome = judged(path, flipped, right)
        counts[outcome] += 1
        if outcome not in ("found", "same"):
            print(f"  bad: {name} byte {bit // 8} bit {bit % 8}: {outcome}")
        if outcome == "same":
            counts[where := meaning(data, bit // 8)] += 1
            if where == "unknown":
                print(f"  bad: {name} byte {bit // 8} bit {bit % 8} is seen by nobody")
    for length in range(len(data)):
        outcome = judged(path, data[:length], right)
        counts[f"cut {outcome}"] += 1
        if outcome != "found":
            print(f"  bad: {name} cut to {length}: {outcome}")
    return counts


def meaning(data: bytes, at: int) -> str:
    """Name the field of a zip that a byte is in, of those from which nothing follows; `unknown` for all others."""
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


def judged(path: Path, data: bytes, right: tuple[str, str]) -> str:
    """Say what became of a damaged file."""
    path.write_bytes(data)
    start = time.perf_counter()
    try:
        got = samples.read(path), samples.verified(path)
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"untyped {type(error).__name__}: {str(error)[:60]}"
    if time.perf_counter() - start > 10:
        return "slow"
    refused = [each.startswith("refused") for each in got]
    if refused[0] and not refused[1]:
        return "whole, it is said, and cannot be read"
    if not refused[0] and got[0] != right[0]:
        return "other values"
    return "found" if refused[1] else "same" if got == right else "said to be other, and whole"


def main() -> None:
    """Try all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("names", nargs="*", default=list(samples.WITH_CHECKSUMS))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=samples.folder()) as folder:
        for name in asked.names:
            print(name, dict(attack(name, asked.step, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
