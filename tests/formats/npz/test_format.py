import io
import zipfile

import numpy as np
import pytest
from conformance import FormatTests, ReadBackTests, tensors_of

from ckpttool.core.dtypes import DTYPES
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.npz import npy
from ckpttool.formats.npz.npz import Npz
from ckpttool.formats.reading import archive as archives


class TestNpz(FormatTests, ReadBackTests):
    name = "npz"
    suffix = ".npz"
    writer = "ckpttool.formats.npz.npz.write_archive"
    refused = tuple(d.name for d in DTYPES if d.name.startswith("q") or d.numpy_name.startswith("ml_dtypes"))

    def test_numpy_reads_what_is_written(self, path):
        arrays = {"hidden1/kernel": np.arange(6.0).reshape(2, 3), "text": np.array([b"a", b"bcd"], object)}
        Npz().save(tensors_of(**arrays), path)
        with np.load(path, allow_pickle=False) as read:
            assert {name: read[name].tolist() for name in read} == {n: a.tolist() for n, a in arrays.items()}

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_what_numpy_writes_is_read(self, path, save):
        arrays = {
            "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "big": np.arange(4, dtype=">i4"),
            "scalar": np.float16(1.5),
            "text": np.array(["ä", "b"]),
        }
        save(path, **arrays)
        opened = Npz().open(path)
        assert opened["fortran"].read().tolist() == [[0, 1, 2], [3, 4, 5]]
        assert opened["big"].read().dtype == np.dtype("=i4")
        assert b"".join(opened["big"].pieces()) == np.arange(4, dtype="<i4").tobytes()
        assert opened["scalar"].read() == 1.5
        assert opened["text"].read().tolist() == ["ä".encode(), b"b"]

    def test_the_same_tensors_give_the_same_bytes(self, tmp_path):
        for name in ("one.npz", "two.npz"):
            Npz().save(tensors_of(a=np.arange(3)), tmp_path / name)
        assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def member(array_bytes=b"", header=None):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, header or {"descr": "<f4", "fortran_order": False, "shape": (2,)})
    return out.getvalue() + array_bytes


def archive(path, *members):
    with zipfile.ZipFile(path, "w") as out:
        for name, content in members:
            out.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.array([{}], object), "contains Python objects"),
        (np.zeros(2, [("x", "f4"), ("y", "i4")]), "structures"),
        (np.zeros(2, [("\u03b1", "f4")]), "structures"),
        (np.array(["2020-01-01"], "datetime64[D]"), "is datetime64[D], which has no corresponding checkpoint dtype"),
        (np.zeros(1, np.longdouble), "which has no corresponding checkpoint dtype"),
    ],
)
@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
def test_what_no_checkpoint_holds_is_left_out_and_named(tmp_path, array, why):
    np.savez(tmp_path / "x.npz", a=array, b=np.ones(2))
    opened = Npz().open(tmp_path / "x.npz")
    assert (list(opened), len(opened.left_out)) == (["b"], 1)
    assert opened.left_out[0].startswith("a (")
    assert why in opened.left_out[0]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    path = archive(tmp_path / "x.npz", ("a.npy", member(bytes(8))), ("a.npy", member(bytes(8))))
    with pytest.raises(FormatError, match=r"two members are named a\.npy"):
        Npz().open(path)


@pytest.mark.parametrize("shape", [(1 << 40,), (3,), (1,), (-2,), (-1, -1, 2), (1 << 62, 1 << 62)], ids=str)
def test_a_header_that_does_not_fit_its_member_is_refused_before_reading(tmp_path, shape):
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    path = archive(tmp_path / "x.npz", ("a.npy", member(bytes(8), header)))
    with pytest.raises(CorruptCheckpoint, match="a is declared as float32"):
        Npz().open(path)


VERSION_4 = b"\x93NUMPY\x04\x00" + (60).to_bytes(4, "little")
VERSION_4 += b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }".ljust(59) + b"\n" + bytes(8)


@pytest.mark.parametrize(
    "content",
    [VERSION_4, b"", b"\x93NUMPY", b"not an array at all", b"\x93NUMPY\x01\x00\x06\x00{((((", b"\x93NUMPY\x04\x00"],
)
def test_a_header_that_is_none_is_refused(tmp_path, content):
    with pytest.raises(CorruptCheckpoint, match="header of a is damaged"):
        Npz().open(archive(tmp_path / "x.npz", ("a.npy", content)))


def test_a_member_that_is_no_array_is_not_dropped_in_silence(tmp_path):
    path = archive(tmp_path / "x.npz", ("a.npy", member(bytes(8))), ("notes.txt", b"hello"))
    opened = Npz().open(path)
    assert (list(opened), opened.left_out) == (["a"], ("notes.txt (is not an array: its name does not end in .npy)",))


def test_the_directory_of_many_arrays_is_read_once(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", **{f"layer{number}": np.full(2, number) for number in range(20)})
    opened = Npz().open(tmp_path / "x.npz")
    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", lambda archive: pytest.fail("read again"))
    assert [tensor.read().tolist() for tensor in opened.values()] == [[number, number] for number in range(20)]


def test_headers_that_are_the_same_are_parsed_once(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", **{f"layer{number}": np.full(7919, number, "f4") for number in range(20)})
    parsed, parse = [], npy._read_header
    monkeypatch.setattr(npy, "_read_header", lambda file: parsed.append(1) or parse(file))
    assert [tensor.read()[0] for tensor in Npz().open(tmp_path / "x.npz").values()] == list(range(20))
    assert len(parsed) == 1


def test_a_string_that_ends_in_a_zero_byte_would_be_shortened(tmp_path):
    with pytest.raises(FormatError, match="ends in a zero byte"):
        Npz().save({"s": Tensor.of("s", np.array([b"a\0"], object))}, tmp_path / "x.npz")


def test_a_zip_of_arrays_is_one_whatever_its_name_and_one_of_that_suffix_whatever_it_holds(tmp_path):
    archive(tmp_path / "arrays.zip", ("a.npy", member(bytes(8))))
    archive(tmp_path / "texts.npz", ("notes.txt", b"hello"))
    archive(tmp_path / "texts.zip", ("notes.txt", b"hello"))
    found = {path.name: Npz().recognises(path) for path in tmp_path.iterdir()}
    assert found == {"arrays.zip": True, "texts.npz": True, "texts.zip": False}


@pytest.mark.parametrize("name", ["notes.txt", "a.npy"])
def test_a_damaged_member_is_found_where_its_first_bytes_are_read(tmp_path, name, monkeypatch):
    """A skipped member might be an array whose name or header is damaged; a compressed one may have no bytes."""
    monkeypatch.setattr("ckpttool.formats.npz.npz.PIECE", 16)
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if name == "a.npy" else zipfile.ZIP_STORED) as out:
        out.writestr(name, member(bytes(8)) + (bytes(9000) if name == "notes.txt" else b""))
        place = len(name) + (30 if name == "a.npy" else 9000)
    raw = bytearray(path.read_bytes())
    raw[place] ^= 0b110 if name == "a.npy" else 1
    path.write_bytes(raw)
    with pytest.raises(CorruptCheckpoint, match=f"{name.removesuffix('.npy')} is damaged"):
        Npz().open(path)


def test_a_member_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "UNPACKED_LIMIT", 1 << 20)
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(1 << 18))
    with pytest.raises(FormatError, match=r"a is declared to decompress \d+ bytes to 2097280"):
        Npz().open(tmp_path / "x.npz")


def test_the_longest_name_that_a_zip_can_hold(tmp_path):
    for length in (65531, 65532):
        values = {"n" * length: Tensor.of("n", np.ones(1))}
        if length == 65531:
            Npz().save(values, tmp_path / "x.npz")
            assert list(Npz().open(tmp_path / "x.npz")) == list(values)
            continue
        with pytest.raises(FormatError, match="cannot store an array named"):
            Npz().save(values, tmp_path / "y.npz")


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"])
def test_names_that_a_zip_cannot_hold(tmp_path, name):
    with pytest.raises(FormatError, match="cannot store an array named"):
        Npz().save({name: Tensor.of(name, np.ones(1))}, tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())
