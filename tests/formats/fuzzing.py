"""Fuzzing of readers behind their checksums: content is changed, and its checksum repaired.

Random changes of a file are nearly always detected by a checksum, so the code behind it is never tested. So each target
takes the bytes of one part, and makes a whole file with them. `trust/fuzz.py` runs the same for longer, and stores the
inputs with the deepest coverage in `trust/corpus`: a file for each target, a part on each line.
"""

import base64
import random
import struct
import traceback
from pathlib import Path

import fuzz_checkpoints
import fuzz_folders
import fuzz_graphs
import fuzz_records
import fuzz_rows
import fuzz_surgery
from fuzz_target import Target

from ckpttool.core.errors import CkptError

KEPT = Path(__file__).parents[2] / "trust" / "corpus"
TARGETS: dict[str, Target] = {
    **fuzz_checkpoints.TARGETS,
    **fuzz_folders.TARGETS,
    **fuzz_graphs.TARGETS,
    **fuzz_records.TARGETS,
    **fuzz_rows.TARGETS,
    **fuzz_surgery.TARGETS,
}
INTERESTING = [0, 1, 2, 0x7F, 0x80, 0xFF]
NUMBERS = [
    struct.pack("<Q", number) for number in (0, 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
]


def kept(name: str) -> list[bytes]:
    """Return the stored parts of a target: those with the deepest coverage, and those that failed once."""
    file = KEPT / f"{name.replace(' ', '_')}.txt"
    return [base64.b64decode(line) for line in file.read_text().split()] if file.exists() else []


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes as fuzzers do: flipped bits, unusual numbers, pieces removed, repeated or moved."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(out) + 1)
        size = min(chance.choice((1, 1, 2, 4, 8, 16)), len(out) - at)
        match chance.randrange(7):
            case 0 if size:
                out[at] ^= 1 << chance.randrange(8)
            case 1 if size:
                out[at] = chance.choice(INTERESTING)
            case 2:
                out[at : at + size] = chance.choice(NUMBERS)[: max(size, 1)]
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = out[at : at + size] * chance.choice((1, 2, 50))
            case 5:
                out[at:at] = chance.randbytes(size)
            case _:
                place = chance.randrange(len(out) + 1)
                out[place : place + size] = out[at : at + size]
    return bytes(out)


def tried(target: Target, folder: Path, part: bytes) -> str | None:
    """Read a file made from a part; return any error that is not ckpttool's."""
    try:
        target.read(target.make(folder, part))
    except (CkptError, OSError):
        return None
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {last.filename}:{last.lineno}: {error}"
    return None
