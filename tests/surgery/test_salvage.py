"""Salvage: each whole tensor of a damaged file is saved unchanged, and the others are named, with the reason."""

import hashlib
import io
import struct
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.formats.format import Writing
from ckpttool.formats.wire import crc
from ckpttool.surgery.salvage import salvage

VALUES = {f"layer{number}/kernel": np.full((8, 8), number, np.float32) for number in range(9)}


def require_true(path: Path, lost: set[str] | None = None) -> set[str]:
    """Check that salvaged tensors have their values, and that all names are reported: saved, or lost."""
    found = salvage(path)
    for name, tensor in found.tensors.items():
        assert (tensor.read() == VALUES[name]).all()
    named = {each.name for each in found.lost} & VALUES.keys()
    if lost is not None:
        assert named == lost and found.tensors.keys() == VALUES.keys() - lost
    return set(found.tensors)


@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors", "x.npz", "x.h5"])
def test_of_a_whole_file_nothing_is_lost(tmp_path: Path, name: str) -> None:
    checkpoint.save(VALUES, tmp_path / name)
    assert require_true(tmp_path / name, set()) == VALUES.keys()


def test_a_tensor_with_a_wrong_checksum(tmp_path: Path) -> None:
    checkpoint.save(VALUES, tmp_path / "x.ckpt")
    data = tmp_path / "x.ckpt.data-00000-of-00001"
    raw = bytearray(data.read_bytes())
    raw[256 * 3 + 5] ^= 1
    data.write_bytes(raw)
    require_true(tmp_path / "x.ckpt", {"layer3/kernel"})


def test_data_that_is_cut_off(tmp_path: Path) -> None:
    checkpoint.save(VALUES, tmp_path / "x.ckpt")
    data = tmp_path / "x.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[: 256 * 7 + 3])
    require_true(tmp_path / "x.ckpt", {"layer7/kernel", "layer8/kernel"})


def test_a_shard_that_is_gone(tmp_path: Path) -> None:
    for name in ("x.ckpt", "x.safetensors"):
        checkpoint.save(VALUES, tmp_path / name, how=Writing(shard_bytes=800))
    shards = sorted([*tmp_path.glob("x.ckpt.data*"), *tmp_path.glob("x-*.safetensors")])
    assert len(shards) == 6
    shards[1].unlink()
    shards[4].unlink()
    for name in ("x.ckpt", "x.safetensors"):
        path = tmp_path / name if name == "x.ckpt" else tmp_path / "x.safetensors.index.json"
        saved = require_true(path)
        assert len(saved) == 6 and len(salvage(path).lost) == 3


def many(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A checkpoint whose index has several blocks."""
    names = [hashlib.sha512(bytes([number % 256, number // 256])).hexdigest() for number in range(4_000)]
    values = {name: np.full(2, int(name[:7], 16), np.int32) for name in sorted(names)}
    checkpoint.save(values, tmp_path / "x.ckpt")
    return Path(f"{tmp_path / 'x.ckpt'}.index"), values


def test_a_file_in_whose_name_are_more_shards_than_an_index_has(tmp_path: Path) -> None:
    checkpoint.save(VALUES, tmp_path / "x.ckpt")
    (tmp_path / "x.ckpt.data-00000-of-99999999999").write_bytes(b"")
    index = tmp_path / "x.ckpt.index"
    index.write_bytes(index.read_bytes()[:40])
    with pytest.raises(CorruptCheckpoint, match=r"x\.ckpt\.index"):
        salvage(tmp_path / "x.ckpt")


def test_blocks_of_an_index_that_are_damaged_or_cut_off(tmp_path: Path) -> None:
    index, values = many(tmp_path)
    whole = index.read_bytes()
    raw = bytearray(whole)
    raw[len(raw) // 2] ^= 1
    index.write_bytes(raw)
    found = salvage(tmp_path / "x.ckpt")
    assert 1_000 < len(found.tensors) < 4_000
    assert all((tensor.read() == values[name]).all() for name, tensor in list(found.tensors.items())[::100])
    assert any(each.name.startswith("the tensors named after ") for each in found.lost)
    index.write_bytes(whole[: len(whole) * 3 // 4])
    cut = salvage(tmp_path / "x.ckpt")
    assert len(cut.tensors) > 1_000 and list(cut.tensors) == list(values)[: len(cut.tensors)]
    assert any("index of blocks" in each.name for each in cut.lost)


@pytest.mark.parametrize("place", [5, 60])
def test_the_only_block_of_an_index(tmp_path: Path, place: int) -> None:
    checkpoint.save(VALUES, tmp_path / "x.ckpt")
    index = tmp_path / "x.ckpt.index"
    raw = bytearray(index.read_bytes())
    raw[-place] ^= 1  # its footer, or its index of blocks
    index.write_bytes(raw)
    require_true(tmp_path / "x.ckpt", set())
    raw[10] ^= 1
    index.write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match="no tensor in it can be read"):
        salvage(tmp_path / "x.ckpt")


def test_a_safetensors_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.save(VALUES, path)
    path.write_bytes(path.read_bytes()[: -256 - 3])
    require_true(path, {"layer7/kernel", "layer8/kernel"})


def test_an_npz_that_is_damaged_or_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    checkpoint.save(VALUES, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        places = [info.header_offset for info in archive.infolist()]
    raw = bytearray(whole)
    raw[places[4] + 250] ^= 1
    path.write_bytes(raw)
    require_true(path, {"layer4/kernel"})
    path.write_bytes(whole[: places[6] + 50])
    assert require_true(path) == {f"layer{number}/kernel" for number in range(6)}
    path.write_bytes(whole[:-3])
    assert require_true(path) == VALUES.keys()


def test_bytes_inserted_in_an_npz_lose_the_array_that_they_are_in(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    checkpoint.save(VALUES, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("layer4/kernel.npy").header_offset
    for at in (place + 100, place + 20):  # in its bytes, and in its header
        path.write_bytes(whole[:at] + b"inserted" + whole[at:])
        require_true(path, {"layer4/kernel"})


def test_members_of_an_npz_whose_sizes_follow_them(tmp_path: Path) -> None:
    path, streamed = tmp_path / "x.npz", io.BytesIO()
    streamed.seekable = lambda: False  # type: ignore[method-assign]
    with zipfile.ZipFile(streamed, "w") as archive:
        for name, value in VALUES.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, value)
    whole = streamed.getvalue()
    place = whole.index(b"layer4/kernel.npy")
    path.write_bytes(whole[: place + 40] + b"inserted" + whole[place + 40 :])
    require_true(path, {"layer4/kernel"})


def test_headers_of_members_in_a_damaged_npz_that_overlap_take_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 8, 0, 0, 33, 0, 0xFFFFFFFF, 0xFFFFFFFF, 4000, 65000)
    path.write_bytes(header * 50_000)
    begin = time.process_time()
    with pytest.raises(CorruptCheckpoint, match="no member of the zip file is whole"):
        salvage(path)
    assert time.process_time() - begin < 5


def test_a_file_of_torch_that_is_cut_off(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pt"
    torch.save({name: torch.tensor(value) for name, value in VALUES.items()}, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        (cut,) = [info.header_offset for info in archive.infolist() if info.filename.endswith("data/5")]
    path.write_bytes(whole[: cut + 100])
    require_true(path, {f"layer{number}/kernel" for number in range(5, 9)})


def test_an_hdf5_file_that_is_cut_off_or_of_which_a_group_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for name, value in VALUES.items():
            file[name] = value
        file["large"] = np.zeros(100_000, np.uint8)
        start = file["large"].id.get_offset()
        group = h5py.h5o.get_info(file["layer3"].id).addr
    whole = path.read_bytes()
    path.write_bytes(whole[: start + 10])
    assert require_true(path) == VALUES.keys()
    assert {each.name for each in salvage(path).lost} == {"large", "the end of the file"}
    raw = bytearray(whole)
    raw[group] ^= 0xFF
    path.write_bytes(raw)
    found = salvage(path)
    assert found.tensors.keys() == {*VALUES, "large"} - {"layer3/kernel"}
    assert [each.name for each in found.lost] == ["layer3"]


def test_a_dataset_of_chunks_that_unpack_to_much_more_than_the_file_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["v"] = np.ones(3, np.float32)
        file.create_dataset("w", (1 << 26,), "f4", chunks=(1 << 25,), compression="gzip")[:] = np.zeros(1 << 26, "f4")
    found = salvage(path)
    assert list(found.tensors) == ["v"]
    assert [(each.name, each.why.partition(",")[0]) for each in found.lost] == [
        ("w", f"w is in chunks of {1 << 27} bytes")
    ]


def test_names_of_hdf5_that_are_not_utf_8_are_lost_and_said(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for name, value in VALUES.items():
            file[name] = value
        file[b"layer1/\xff"] = np.ones(3)
        file["large"] = np.zeros(100_000, np.uint8)
        start = file["large"].id.get_offset()
    path.write_bytes(path.read_bytes()[: start + 10])
    assert require_true(path) == VALUES.keys()
    lost = {each.name: each.why for each in salvage(path).lost}
    assert lost["layer1/\\xff"] == "its name is not UTF-8"


def test_every_truncation_gives_right_values_or_an_error(tmp_path: Path) -> None:
    for name in ("x.ckpt.index", "x.safetensors", "x.npz"):
        checkpoint.save(VALUES, tmp_path / name.removesuffix(".index"), overwrite=True)
        path = tmp_path / name
        whole = path.read_bytes()
        for size in range(0, len(whole), 61):
            path.write_bytes(whole[:size])
            try:
                require_true(tmp_path / name.removesuffix(".index"))
            except CkptError:
                continue


def test_a_map_of_keras_whose_file_is_gone_is_not_taken_for_hdf5(tmp_path: Path) -> None:
    (tmp_path / "x.weights.json").write_text('{"weight_map": {"/vars": ["x_00001.weights.h5"]}}')
    with pytest.raises(
        MissingFile, match=r"x_00001\.weights\.h5 is missing: weights are in it according to x\.weights\.json"
    ):
        salvage(tmp_path / "x.weights.json")


def test_bytes_that_look_like_ends_of_blocks_take_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save({"w": np.ones(3)}, tmp_path / "x.ckpt")
    entries = bytearray(b"\0\0\4\xff\xff\xff\xff" * 300_000)
    for entry in range(300_000):
        restarts = max(1, -(-entry // 16))
        place = 7 * entry + 4 * restarts
        if place % 7 == 3 and place + 4 <= len(entries):
            entries[place : place + 4] = restarts.to_bytes(4, "little")
    (tmp_path / "x.ckpt.index").write_bytes(entries + b"\xff" * 48)
    read: list[int] = []
    extend = crc.extend
    monkeypatch.setattr(crc, "extend", lambda start, data: read.append(len(data)) or extend(start, data))

    with pytest.raises(CkptError, match="no tensor in it can be read"):
        salvage(tmp_path / "x.ckpt")

    assert sum(read) < 1e9
