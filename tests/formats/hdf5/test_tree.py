"""HDF5 files: any tree is read as by h5py; nothing outside the file is read, and no claim is trusted."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckpttool.checkpoint import open as open_checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.hdf5 import tree
from ckpttool.formats.hdf5.tree import read_tree

SECRET = np.full(3, 42.0, np.float32)
KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)


def write(path: Path, fill: Callable[[Any], None]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def read(path: Path) -> dict[str, Any]:
    return {name: tensor.read() for name, tensor in open_checkpoint(path).items()}


def test_a_tree_of_datasets(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["hidden1/kernel"] = KERNEL
        file["hidden1/bias:0"] = np.float32([7, 8, 9])
        file["step"] = 3

    found = open_checkpoint(write(tmp_path / "w.h5", fill))
    assert {name: (tensor.shape, str(tensor.dtype)) for name, tensor in found.items()} == {
        "hidden1/bias": ((3,), "float32"),
        "hidden1/kernel": ((2, 3), "float32"),
        "step": ((), "int64"),
    }
    assert found["hidden1/kernel"].read().tolist() == KERNEL.tolist()
    assert found["step"].read() == 3


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">i8", "u1", "?", "<f2", "<c8"])
def test_every_dtype_and_byte_order(tmp_path: Path, dtype: str) -> None:
    values = np.array([0, 1, 1, 0]).astype(dtype)
    (found,) = read(write(tmp_path / "w.h5", lambda file: file.create_dataset("x", data=values))).values()
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert found.tolist() == values.tolist()


def test_packed_and_chunked(tmp_path: Path) -> None:
    values = np.zeros((500, 500), np.float32)

    def fill(file: Any) -> None:
        file.create_dataset("gzip", data=values, compression="gzip", shuffle=True, fletcher32=True)
        file.create_dataset("lzf", data=values, compression="lzf")

    assert all(np.array_equal(found, values) for found in read(write(tmp_path / "w.h5", fill)).values())


def test_texts(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["words"] = ["one", "two"]

    assert read(write(tmp_path / "w.h5", fill))["words"].tolist() == [b"one", b"two"]


def test_a_soft_link_inside_the_file_is_another_name(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["hidden1/kernel"] = KERNEL
        file["alias"] = h5py.SoftLink("/hidden1/kernel")

    assert sorted(read(write(tmp_path / "w.h5", fill))) == ["alias", "hidden1/kernel"]


def external_link(file: Any) -> None:
    file["w"] = h5py.ExternalLink("secret.h5", "/x")


def external_group(file: Any) -> None:
    file["layer"] = h5py.ExternalLink("secret.h5", "/")


def soft_link_through_an_external_one(file: Any) -> None:
    file["group/away"] = h5py.ExternalLink("secret.h5", "/")
    file["w"] = h5py.SoftLink("/group/away/x")


def soft_link_to_nothing(file: Any) -> None:
    file["w"] = h5py.SoftLink("/nowhere")


def soft_link_into_a_dataset(file: Any) -> None:
    file["x"] = KERNEL
    file["w"] = h5py.SoftLink("x/kernel")


def soft_link_to_itself(file: Any) -> None:
    file["w"] = h5py.SoftLink("/w")


def external_storage(file: Any) -> None:
    file.create_dataset("w", (3,), "f4", external=[("secret.bin", 0, 12)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "x", (3,))
    file.create_virtual_dataset("w", layout)


def circle(file: Any) -> None:
    file.create_group("a/b")
    file["a/b/up"] = file["a"]


def deep(file: Any) -> None:
    file["/".join("a" * 70)] = KERNEL


def reference(file: Any) -> None:
    file["x"] = KERNEL
    file.create_dataset("w", (1,), h5py.ref_dtype)


def lists_in_cells(file: Any) -> None:
    file.create_dataset("w", (1,), h5py.vlen_dtype(np.int32))


def named_type(file: Any) -> None:
    file["w"] = np.dtype("f4")


def null(file: Any) -> None:
    file["w"] = h5py.Empty("f4")


@pytest.mark.parametrize(
    ("fill", "says"),
    [
        (external_link, "w is a link to outside of the file"),
        (external_group, "layer is a link to outside of the file"),
        (soft_link_through_an_external_one, "group/away is a link to outside of the file"),
        (soft_link_to_nothing, "w is a link to /nowhere, which is not in the file"),
        (soft_link_into_a_dataset, "w is a link to x/kernel, which is not in the file"),
        (soft_link_to_itself, "w is a link to outside of the file"),
        (external_storage, "w stores its values in another file"),
        (virtual, "w stores its values in another file"),
        (circle, "the groups of a/b/up form a circle"),
        (deep, r"the groups of (a/){8}\[\.\.\. \d\d levels \.\.\.\](/a){8} form a circle, or are nested too deeply"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fill: Callable[[Any], None], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "secret.h5", lambda file: file.create_dataset("x", data=SECRET))
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    with pytest.raises(FormatError, match=says) as refused:
        open_checkpoint(write(tmp_path / "w.h5", fill))
    assert str(tmp_path / "w.h5") in str(refused.value)
    assert "42" not in str(refused.value)


def records(file: Any) -> None:
    file["w"] = np.zeros(2, [("a", "f4"), ("b", "i4")])


@pytest.mark.parametrize(
    ("fill", "what"),
    [
        (reference, "references to objects"),
        (lists_in_cells, "lists of int32"),
        (named_type, "a type of elements"),
        (null, "nothing, not even a shape"),
        (records, "records of a, b"),
    ],
)
def test_what_is_no_array_of_numbers_is_left_out_and_said(
    tmp_path: Path, fill: Callable[[Any], None], what: str
) -> None:
    path = write(tmp_path / "w.h5", lambda file: (fill(file), file.create_dataset("kernel", data=KERNEL)))
    opened = open_checkpoint(path)
    assert opened.left_out == (f"w ({what})",)
    np.testing.assert_array_equal(opened["kernel"].read(), KERNEL)


def test_what_comes_after_the_end_is_left_out_and_said(tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", lambda file: file.create_dataset("kernel", data=KERNEL))
    assert open_checkpoint(path).left_out == ()
    path.write_bytes(path.read_bytes() + b"hello")
    assert open_checkpoint(path).left_out == ("5 bytes (after the end that HDF5 records)",)


def test_attributes_are_read_that_are_numbers_or_texts_and_references_are_named(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file.create_group("a").attrs["number"] = 7
        file["a"].attrs["nothing"] = h5py.Empty("f4")
        file["a/w"] = KERNEL
        file["a/w"].attrs["above"] = file["a"].ref
        file["a/w"].attrs["unit"] = "m"

    found = read_tree(write(tmp_path / "w.h5", fill))
    assert found.attributes["a"].keys() == {"number", "nothing"}
    assert (found.attributes["a"]["number"], found.attributes["a/w"]) == (7, {"unit": "m"})
    assert found.opaque == ["a/w@above"]
    assert list(found.groups) == ["", "a"]


def test_an_attribute_that_says_it_is_larger_than_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", lambda file: file.attrs.create("x", np.zeros(12345, np.float32)))
    path.write_bytes(path.read_bytes().replace((12345).to_bytes(8, "little"), (1 << 40).to_bytes(8, "little")))
    with pytest.raises(CorruptCheckpoint, match=r"the attribute @x is declared larger|ran off end"):
        read_tree(path)


def test_names_in_an_attribute_or_in_several_where_they_are_long(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file.attrs["short"] = [b"a", b"b"]
        file.attrs["one"] = "alone"
        file.attrs["long0"], file.attrs["long1"], file.attrs["long3"] = [b"a"], ["b", "c"], [b"never"]

    found = read_tree(write(tmp_path / "w.h5", fill))
    assert [found.texts("", key) for key in ("short", "one", "long")] == [["a", "b"], ["alone"], ["a", "b", "c"]]
    assert (found.texts("", "other"), found.texts("nowhere", "short")) == (None, None)


def test_a_dataset_that_cannot_be_unpacked_is_listed_and_the_others_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", lambda file: file.create_dataset("w", data=KERNEL, compression="gzip"))
    unknown = bytes([32015 & 255, 32015 >> 8])
    with h5py.File(path, "a") as file:
        file["kernel"] = KERNEL
    whole = path.read_bytes()
    place = whole.index(b"deflate")
    path.write_bytes(whole[: place - 8] + unknown + whole[place - 6 :])
    opened = open_checkpoint(path)
    np.testing.assert_array_equal(opened["kernel"].read(), KERNEL)
    with pytest.raises(FormatError, match="w is compressed with filter 32015, which is unknown"):
        opened["w"].read()


@pytest.mark.parametrize("chunks", [None, (1 << 20,)])
def test_a_shape_without_bytes_behind_it(tmp_path: Path, chunks: tuple[int] | None) -> None:
    path = write(tmp_path / "w.h5", lambda file: file.create_dataset("w", (1 << 40,), "f4", chunks=chunks))
    with pytest.raises(CorruptCheckpoint, match=r"w is declared as float32 \[1099511627776\], but 0 bytes are stored"):
        open_checkpoint(path)


def test_every_truncation_is_an_error_of_ours(tmp_path: Path) -> None:
    whole = write(tmp_path / "w.h5", lambda file: file.create_dataset("hidden1/kernel", data=KERNEL)).read_bytes()
    for size in range(0, len(whole), 7):
        (tmp_path / "cut.h5").write_bytes(whole[:size])
        with pytest.raises(CkptError):
            read(tmp_path / "cut.h5")


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(FormatError, match=r"text.h5 is not a checkpoint .*hdf5"):
        open_checkpoint(tmp_path / "text.h5")
    with pytest.raises(MissingFile):
        open_checkpoint(tmp_path / "none.h5")


def test_two_names_that_would_be_one(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["w"], file["w:0"] = KERNEL, KERNEL

    with pytest.raises(FormatError, match="would both be named w"):
        open_checkpoint(write(tmp_path / "w.h5", fill))


def test_names_that_are_not_utf_8_are_left_out_and_said(tmp_path: Path) -> None:
    def fill(file: Any) -> None:
        file["w"] = KERNEL
        file[b"\xffv"] = KERNEL
        file.create_group("layer").create_group(b"\xff\xfe")["u"] = KERNEL

    opened = open_checkpoint(write(tmp_path / "w.h5", fill))
    assert list(opened) == ["w"]
    assert sorted(opened.left_out) == [
        "\\xffv (its name is not UTF-8)",
        "layer/\\xff\\xfe (its name is not UTF-8)",
    ]


def test_datasets_that_share_their_bytes_to_seem_more(tmp_path: Path) -> None:
    """Addresses of datasets that were never written are replaced by that of the first."""

    def fill(file: Any) -> None:
        file["first"] = np.ones(4096, np.uint8)
        for number in range(20):
            file.create_dataset(f"more{number}", (4096,), "u1")

    path = write(tmp_path / "w.h5", fill)
    with h5py.File(path) as file:
        address = file["first"].id.get_offset()
    size = (4096).to_bytes(8, "little")
    path.write_bytes(path.read_bytes().replace(b"\xff" * 8 + size, address.to_bytes(8, "little") + size))
    with pytest.raises(CorruptCheckpoint, match="declared with more bytes than the file has"):
        open_checkpoint(path)


def test_texts_that_are_all_the_same_long_one(tmp_path: Path) -> None:
    texts = ["a" * (1 << 20), *(f"{number:03}" for number in range(500))]
    path = write(tmp_path / "w.h5", lambda file: file.create_dataset("s", data=texts, dtype=h5py.string_dtype()))
    with h5py.File(path) as file:
        start = file["s"].id.get_offset()
    raw = bytearray(path.read_bytes())
    raw[start : start + 16 * len(texts)] = raw[start : start + 16] * len(texts)
    path.write_bytes(raw)
    with pytest.raises(
        CorruptCheckpoint, match=r"the texts of s are longer than the file|s is damaged: .*memory allocation failed"
    ):
        open_checkpoint(path)["s"].read()


def test_what_is_packed_to_excess(tmp_path: Path) -> None:
    chunk = 64 << 20

    def fill(file: Any) -> None:
        bomb = file.create_dataset("w", (80 * chunk,), "u1", chunks=(chunk,), compression="gzip")
        packed = zlib.compress(bytes(chunk))
        for number in range(80):
            bomb.id.write_direct_chunk((number * chunk,), packed)

    with pytest.raises(FormatError, match=r"w is declared to decompress \d+ bytes to 5368709120"):
        open_checkpoint(write(tmp_path / "w.h5", fill))


def test_a_file_that_was_moved_is_not_walked_again_and_is_read_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(file: Any) -> None:
        file["raw"] = np.arange(4, dtype="<f4")
        file.create_dataset("packed", data=np.arange(40), compression="gzip")

    before = read_tree(write(tmp_path / "a.h5", fill))
    (tmp_path / "a.h5").rename(tmp_path / "b.h5")
    monkeypatch.setattr(tree, "_Walk", None)

    found = read_tree(tmp_path / "b.h5")

    assert found.path == tmp_path / "b.h5"
    assert found.tensors["raw"].read().tolist() == [0, 1, 2, 3]
    assert b"".join(found.tensors["packed"].pieces()) == np.arange(40).tobytes()
    with pytest.raises(MissingFile, match=r"a\.h5 is missing"):
        before.tensors["raw"].read()
