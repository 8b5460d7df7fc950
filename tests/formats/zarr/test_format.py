"""Zarr folders: those written by the zarr package and TensorStore are read without them, with every codec."""

import json

import numpy as np
import pytest
import zarr
from conformance import FolderReadingTests
from referees import Zarrs
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.zarr import arrays, store
from ckpttool.formats.zarr.format import Zarr

CUBE = np.arange(7 * 5 * 3, dtype=np.float32).reshape(7, 5, 3)


class TestZarr(FolderReadingTests):
    name = "zarr"
    suffix = ".zarr"
    checksums = False

    def save(self, tensors, path, overwrite):
        Zarrs().write(path, tensors, compressors=None)

    test_names_are_not_files = None


def saved(path, version, array=CUBE, **options):
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_group("net").create_array("w", data=array, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {}, {"chunks": (7, 5, 3)}, {"chunks": (2, 5, 3)}, {"chunks": (3, 2, 2)}, {"chunks": (100, 100, 100)},
        {"order": "F", "chunks": (3, 2, 2)}, {"compressors": None},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("version", [2, 3])
def test_chunks_of_any_shape_are_joined(tmp_path, version, options):
    if version == 3 and "order" in options:
        options = {**options, "filters": TransposeCodec(order=(2, 0, 1))}
        del options["order"]
    tensor = checkpoint.open(saved(tmp_path / "a.zarr", version, **options))["net/w"]
    assert np.array_equal(tensor.read(), CUBE)
    assert b"".join(tensor.pieces()) == CUBE.tobytes()


@pytest.mark.parametrize("name", ["zlib", "gzip", "zstd", "blosc"])
def test_packings_of_version_2_are_unpacked(tmp_path, name):
    import numcodecs

    packing = numcodecs.get_codec({"id": name})
    opened = checkpoint.open(saved(tmp_path / "a.zarr", 2, chunks=(3, 2, 2), compressors=packing))
    assert np.array_equal(opened["net/w"].read(), CUBE)


@pytest.mark.parametrize(
    "packing", [GzipCodec(), ZstdCodec(checksum=True), BloscCodec(), (ZstdCodec(), Crc32cCodec())], ids=range(4)
)
@pytest.mark.parametrize("shards", [None, (4, 4, 4)])
def test_packings_and_shards_of_version_3_are_unpacked(tmp_path, packing, shards):
    made = saved(tmp_path / "a.zarr", 3, chunks=(2, 2, 2), shards=shards, compressors=packing)
    assert np.array_equal(checkpoint.open(made)["net/w"].read(), CUBE)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("fill", [0, 7.5, np.nan, -np.inf])
def test_missing_chunks_hold_what_the_array_is_filled_with(tmp_path, version, fill):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    group.create_array("w", shape=(6,), chunks=(2,), dtype="float32", fill_value=fill)[2:4] = [1, 2]
    np.testing.assert_array_equal(checkpoint.open(tmp_path / "a.zarr")["w"].read(), [fill, fill, 1, 2, fill, fill])


def test_an_array_alone_has_the_name_of_its_folder(tmp_path):
    zarr.save_array(tmp_path / "kernel.zarr", CUBE)
    assert np.array_equal(checkpoint.open(tmp_path / "kernel.zarr")["kernel"].read(), CUBE)
    assert list(checkpoint.open(tmp_path / "kernel.zarr" / "zarr.json")) == ["kernel"]


def test_big_endian_numbers_are_read_and_texts_left_out(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("big", data=np.arange(5, dtype=">f8"))
    group.create_array("complex", data=np.arange(4, dtype=">c8") * 1j)
    group.create_array("texts", data=np.array(["ab", "c"]))
    opened = checkpoint.open(tmp_path / "a.zarr")
    assert opened["big"].read().tolist() == [0, 1, 2, 3, 4]
    assert opened["complex"].read().tolist() == [0, 1j, 2j, 3j]
    assert opened.left_out == ("texts (is of dtype <U2: not supported)",)


def array_json(**other):
    said = {"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<f4", "compressor": None, "fill_value": 0,
            "filters": None, "order": "C"}  # fmt: skip
    return {**said, **other}


def crafted(tmp_path, said, **chunks):
    folder = tmp_path / "a.zarr"
    (folder / "w").mkdir(parents=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    (folder / "w" / ".zarray").write_text(said if isinstance(said, str) else json.dumps(said))
    for name, data in chunks.items():
        (folder / "w" / name.removeprefix("_")).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (array_json(shape=[1 << 40]), "chunks, at most 1000000"),
        (array_json(shape=[1 << 61]), "which is not valid"),
        (array_json(shape=[1 << 40], chunks=[1 << 40]), "declared with 4398046511104 bytes, but"),
        (array_json(shape=[1 << 14, 1 << 14], chunks=[1 << 14, 16]), "1073741824 bytes that must be read at once, but"),
        (array_json(chunks=[1 << 40]), "w has 16 bytes, but its chunks have 4398046511104 each"),
        (array_json(chunks=[0]), "its chunks are [0]"),
        (array_json(chunks=[2, 2]), "its chunks are [2, 2]"),
        (array_json(shape=[-1]), "a shape is [-1]"),
        (array_json(shape=[True]), "a shape is [True]"),
        (array_json(shape=[1] * 33, chunks=[1] * 33), "a shape is"),
        (array_json(fill_value="a"), "missing chunks have the value a, which is not a number"),
        (array_json(dimension_separator="../"), "are separated by"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "is damaged"),
    ],
    ids=range(14),
)
def test_what_cannot_be_is_refused_in_a_line(tmp_path, said, message):
    with pytest.raises(FormatError) as caught:
        checkpoint.open(crafted(tmp_path, said))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        array_json(dtype="|O"), array_json(dtype=[["a", "<f4"]]), array_json(filters=[{"id": "delta"}]),
        array_json(compressor={"id": "lzma"}), array_json(zarr_format=4), array_json(dtype="<M8[s]"),
    ],
    ids=range(6),
)  # fmt: skip
def test_what_is_not_read_is_left_out_and_named(tmp_path, said):
    (left_out,) = checkpoint.open(crafted(tmp_path, said)).left_out
    assert left_out.startswith("w (")


@pytest.mark.parametrize(
    ("said", "chunk"),
    [
        (array_json(), bytes(7)),
        (array_json(), bytes(9)),
        (array_json(dtype="|u1", fill_value=300, shape=[2]), None),
        (array_json(compressor={"id": "zstd"}), b"(\xb5/\xfdnonsense"),
        (array_json(compressor={"id": "zlib"}), b"nonsense"),
        (array_json(compressor={"id": "blosc"}), b"nonsense"),
        (array_json(compressor={"id": "blosc"}), b"\2\1\x21\4" + b"\xff\xff\xff\x7f" * 3),
        (array_json(dtype="|b1", shape=[2]), b"\0\2"),
    ],
    ids=range(8),
)
def test_damaged_chunks_are_found_when_they_are_read(tmp_path, said, chunk):
    folder = crafted(tmp_path, said, **({} if chunk is None else {"_0": chunk}))
    with pytest.raises(CorruptCheckpoint, match=r"a\.zarr: .*w"):
        checkpoint.open(folder)["w"].read()


def test_a_chunk_that_unpacks_without_end_is_refused(tmp_path):
    import cramjam

    packed = bytes(cramjam.zstd.compress(bytes(64 << 20)))
    folder = crafted(tmp_path, array_json(compressor={"id": "zstd"}), _0=packed)
    with pytest.raises(CorruptCheckpoint, match="does not decompress to 8 bytes"):
        checkpoint.open(folder)["w"].read()


def test_nothing_outside_of_the_folder_is_read(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(8))
    folder = crafted(tmp_path, array_json())
    (folder / "w" / "0").symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="is a link to another folder"):
        checkpoint.open(folder)


def test_chunks_that_change_are_refused(tmp_path):
    opened = checkpoint.open(crafted(tmp_path, array_json(), _0=bytes(8), _1=bytes(8)))
    (tmp_path / "a.zarr" / "w" / "0").write_bytes(bytes(9))
    with pytest.raises(CorruptCheckpoint, match=r"^\S+w/0 changed while it was read$"):
        opened["w"].read()


def test_a_chunk_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    opened, piece = checkpoint.open(crafted(tmp_path, array_json(), _0=bytes(8), _1=bytes(8))), CheckpointFile.piece

    def then_changed(file, size, at):
        data = piece(file, size, at)
        file.path.write_bytes(bytes(9))
        return data

    monkeypatch.setattr(CheckpointFile, "piece", then_changed)
    with pytest.raises(CorruptCheckpoint, match=r"w/0 changed while it was read"):
        opened["w"].read()


@pytest.mark.parametrize("chunks", [(3, 5, 3), (3, 8, 3), (7, 2, 3), (7, 5, 2)])
def test_pieces_are_the_bytes_in_their_order_however_chunks_divide_them(tmp_path, monkeypatch, chunks):
    monkeypatch.setattr(arrays, "PIECE", 16)
    tensor = checkpoint.open(saved(tmp_path / "a.zarr", 3, chunks=chunks))["net/w"]
    pieces = [bytes(piece) for piece in tensor.pieces()]
    assert b"".join(pieces) == CUBE.tobytes()
    assert max(map(len, pieces)) == 16


def test_links_within_the_folder_are_followed_to_files_and_files_are_limited(tmp_path, monkeypatch):
    folder = crafted(tmp_path, array_json(), _0=np.float32([1, 2]).tobytes())
    (folder / "w" / "1").symlink_to(folder / "w" / "0")
    assert checkpoint.open(folder)["w"].read().tolist() == [1, 2, 1, 2]
    monkeypatch.setattr(store, "MOST_FILES", 3)
    with pytest.raises(FormatError, match="has over 3 files, the limit"):
        checkpoint.open(folder)
    monkeypatch.undo()
    (folder / "v").symlink_to(folder / "w")
    with pytest.raises(FormatError, match="v is a link to another folder"):
        checkpoint.open(folder)


def test_nothing_is_written(tmp_path):
    with pytest.raises(CkptError, match="folders of Zarr are read only; `to` safetensors"):
        checkpoint.save({"a": np.zeros(1)}, tmp_path / "x.zarr", format="zarr")


def test_chunks_that_unpack_to_much_more_than_their_array_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "UNPACKED_LIMIT", 1000)
    assert crafted(tmp_path / "a", array_json(chunks=[1000])) and len(checkpoint.open(tmp_path / "a" / "a.zarr")) == 1
    folder = crafted(tmp_path / "b", array_json(chunks=[100_000]))
    with pytest.raises(FormatError, match=r"its arrays are declared with 400000 bytes, but \d+ are stored"):
        checkpoint.open(folder)


def test_arrays_that_are_split_into_many_chunks_together_are_refused(tmp_path, monkeypatch):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    for name in ("v", "w"):
        group.create_array(name, data=CUBE, chunks=(4, 5, 3))
    monkeypatch.setattr(arrays, "MOST_CHUNKS", 4)
    opened = checkpoint.open(tmp_path / "a.zarr")
    assert {array.band for _, array in Zarr().open(tmp_path / "a.zarr").arrays.values()} == {4 * 5 * 3 * 4}
    assert np.array_equal(opened["v"].read(), CUBE)
    monkeypatch.setattr(arrays, "MOST_CHUNKS", 3)
    with pytest.raises(FormatError, match=r"a\.zarr: its arrays are split into 4 chunks, at most 3 are read"):
        checkpoint.open(tmp_path / "a.zarr")
