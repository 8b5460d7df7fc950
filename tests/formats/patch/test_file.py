"""The file of a patch: truncated anywhere, with any byte flipped, or crafted, it is rejected."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.patch.file import MAGIC, Patch, PatchFile, directory, framed, is_patch
from ckpttool.lineage.provenance import UNKNOWN
from ckpttool.surgery.patching.applying import patched
from ckpttool.surgery.patching.making import delta

BASE = {"low/kernel": np.ones((3, 4), np.float32), "top/bias": np.zeros(40, np.float32), "text": np.array([b"a", b""])}
TUNED = BASE | {"top/bias": np.arange(40, dtype=np.float32), "text": np.array([b"a", b"bc"]), "new": np.arange(6)}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "delta"
    with path.open("wb") as file:
        delta(Checkpoint.of(BASE), Checkpoint.of(TUNED)).write(file)
    return path


def read_all(path: Path) -> dict[str, Any]:
    made = patched(Checkpoint.of(BASE), PatchFile(path), UNKNOWN)
    return {name: tensor.read() for name, tensor in made.items()}


def test_a_patch_is_read_as_it_was_written(written: Path) -> None:
    assert is_patch(written)
    for name, array in read_all(written).items():
        np.testing.assert_array_equal(array, TUNED[name])


def test_a_patch_that_is_cut_off_anywhere_is_refused(written: Path) -> None:
    whole = written.read_bytes()
    for length in range(len(whole)):
        written.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            PatchFile(written)


def test_a_patch_with_any_byte_flipped_is_refused(written: Path) -> None:
    whole = written.read_bytes()
    for place in range(len(whole)):
        written.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        with pytest.raises(FormatError):
            PatchFile(written).require_whole()


def test_bytes_behind_or_before_the_directory_are_refused(written: Path) -> None:
    whole = written.read_bytes()
    for odd in (whole + b"more", MAGIC + b"more" + whole[len(MAGIC) :]):
        written.write_bytes(odd)
        with pytest.raises(CorruptCheckpoint):
            PatchFile(written)


def test_a_later_version_and_another_file_are_named(written: Path) -> None:
    written.write_bytes(MAGIC[:-1] + b"\x02" + written.read_bytes()[len(MAGIC) :])
    with pytest.raises(FormatError, match="the patch has version 2, which needs a later version of ckpttool"):
        PatchFile(written)
    written.write_bytes(b"PK\x03\x04" * 20)
    with pytest.raises(FormatError, match=r"is not a patch: `diff\(patch\)` writes one"):
        PatchFile(written)


def crafted(path: Path, change: Callable[[dict[str, Any]], None], blocks: bytes = b"") -> Path:
    """A patch with a changed directory and a matching checksum."""
    made = delta(Checkpoint.of(BASE), Checkpoint.of(TUNED)).write(io.BytesIO())
    document = made.patch.as_json()
    change(document)

    class Other(Patch):
        def as_json(self) -> dict[str, Any]:
            return document

    body = io.BytesIO()
    delta(Checkpoint.of(BASE), Checkpoint.of(TUNED)).write(body)
    start = body.getvalue()[: len(MAGIC) + sum(row[6][1] for row in made.patch.as_json()["tensors"])]
    path.write_bytes(start + blocks + directory(Other({}, {}, "", "")))
    return path


@pytest.mark.parametrize(
    ("row", "value", "why"),
    [
        ((1, 1), "float63", "is 'float63'"),
        ((1, 2), [1 << 62, 1 << 62], "top/bias is float32 .* but made of top/bias, which is not"),
        ((1, 2), [-40], "-40 is not a size"),
        ((1, 2), [True], "True is not a size"),
        ((1, 2), [-1], "-1 is not a size"),
        ((1, 2), [1 << 63], "9223372036854775808 is not a size"),
        ((1, 3), "import os", "top/bias is made by 'import os', which is unknown"),
        ((1, 5), "nowhere", "top/bias is made by .* of nowhere, which is not a tensor of the base"),
        ((1, 5), ["top/bias"], "which is not a tensor of the base"),
        ((1, 6), [0, 20, 160], "top/bias does not fit its blocks"),
        ((1, 6), [12, 1 << 40, 160], "does not fit its blocks"),
        ((2, 6), "xyz", "the directory of the patch is not valid"),
        ((2, 0), "top/bias", "a name appears twice"),
        ((2, 2), [1 << 40], "text does not fit its blocks"),
        ((3, 2), [1 << 40], "new does not fit its blocks"),
    ],
)
def test_a_directory_that_lies_is_refused(tmp_path: Path, row: tuple[int, int], value: Any, why: str) -> None:
    def change(document: dict[str, Any]) -> None:
        document["tensors"][row[0]][row[1]] = value

    with pytest.raises(CorruptCheckpoint, match=why):
        PatchFile(crafted(tmp_path / "delta", change))


def test_a_whole_tensor_cannot_claim_more_than_a_thousand_times_its_bytes(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["tensors"][3][2], document["tensors"][3][6][2] = [1 << 40], 8 << 40

    with pytest.raises(CorruptCheckpoint, match="new does not fit its blocks"):
        PatchFile(crafted(tmp_path / "delta", change))


def test_a_hash_that_lies_is_found_when_the_tensor_is_read(tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["tensors"][1][4] = "0" * 64

    made = patched(Checkpoint.of(BASE), PatchFile(crafted(tmp_path / "delta", change)), UNKNOWN)
    with pytest.raises(
        CorruptCheckpoint, match="top/bias has a different hash after the patch than the patch declares"
    ):
        made["top/bias"].read()


def of_one(path: Path, whole: Any, blocks: bytes, stored: int, **said: Any) -> Path:
    """A patch of one tensor without a base, whose blocks are these bytes."""
    made = delta(Checkpoint.of({}), Checkpoint.of({"w": whole})).patch
    tensor = replace(made.tensors["w"], at=len(MAGIC), stored=stored, **said)
    path.write_bytes(MAGIC + blocks + directory(replace(made, tensors={"w": tensor})))
    return path


@pytest.mark.parametrize(
    ("shape", "payload", "why"),
    [
        (3, b"\x01a", "w does not fit its blocks"),
        (1, b"\x05a", "w does not contain such strings: string 0 ends at byte 6 of 2"),
        (1, b"\x01ab", "w does not contain such strings: 1 bytes are trailing"),
        (1, b"\xff" * 12, "w does not contain such strings: the number at byte 0"),
    ],
)
def test_strings_that_do_not_fit_are_refused(tmp_path: Path, shape: int, payload: bytes, why: str) -> None:
    block, said = framed(payload), {"nbytes": len(payload), "hash": hashlib.sha256(payload).hexdigest()}
    path = of_one(tmp_path / "delta", np.array([b"word"] * shape), block, len(block), **said)
    with pytest.raises(CorruptCheckpoint, match=why):
        patched(Checkpoint.of({}), PatchFile(path), UNKNOWN)["w"].read()


@pytest.mark.parametrize(
    ("payload", "before", "more", "why"),
    [
        (b"no frame of zstd", 0, b"", "w cannot be unpacked: a block of 16 bytes does not decompress to 48"),
        (b"more than the tensor" * 3, 0, b"", "the blocks of w do not fit their places"),
        (bytes(48), 4, b"", "the blocks of w do not fit their places"),
        (bytes(48), 0, b"more", "4 bytes follow the blocks of w"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(tmp_path: Path, payload: bytes, before: int, more: bytes, why: str) -> None:
    block = framed(payload)
    block = block[: len(block) - before] + more
    path = of_one(tmp_path / "delta", np.zeros(6), block, len(block), nbytes=48)
    with pytest.raises(CorruptCheckpoint, match=why):
        patched(Checkpoint.of({}), PatchFile(path), UNKNOWN)["w"].read()
