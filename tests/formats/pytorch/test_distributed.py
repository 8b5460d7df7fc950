"""torch.distributed.checkpoint folders, compared with PyTorch."""

import io
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from conformance import SHAPES, FolderReadingTests, numbers
from referees import TorchFolders
from torch.distributed.checkpoint import metadata as meta
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch_files import rewritten

from ckpttool import checkpoint
from ckpttool.core.dtypes import DTYPES
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.tensors import Tensor
from ckpttool.formats.pytorch import distributed_index
from ckpttool.formats.pytorch.distributed import Distributed

HELD = [dtype for dtype in DTYPES if dtype.name in Distributed.HOLDS]


class TestDistributed(FolderReadingTests):
    name = "torch-distributed"

    def save(self, tensors: Any, path: Path, overwrite: bool) -> None:
        TorchFolders().write(path, tensors)

    @pytest.mark.parametrize("dtype", HELD, ids=str)
    def test_what_torch_writes_is_read(self, path: Path, dtype: Any) -> None:
        arrays = {f"a/b{len(shape)}": numbers(dtype, shape) for shape in SHAPES}
        self.save({name: Tensor.of(name, array) for name, array in arrays.items()}, path, False)
        opened = self.format.open(path)
        for name, array in arrays.items():
            back = opened[name].read()
            assert (back.dtype, back.shape) == (dtype.numpy, array.shape)
            assert back.tobytes() == array.tobytes() == b"".join(opened[name].pieces())


Box = tuple[slice, ...]


def write(folder: Path, whole: torch.Tensor, boxes: list[Box], change: Callable[[meta.Metadata], Any] = id) -> None:
    """Write a tensor `w` in parts, every second one to another file, as several processes do."""
    folder.mkdir()
    files = {name: io.BytesIO() for name in ("__0_0.distcp", "__1_0.distcp")}
    chunks, places = [], {}
    for number, box in enumerate(boxes):
        name = f"__{number % 2}_0.distcp"
        start = files[name].tell()
        part = whole[box].clone()
        torch.save(part, files[name])
        offsets = torch.Size(side.start for side in box)
        chunks.append(meta.ChunkStorageMetadata(offsets, part.shape))
        info = _StorageInfo(name, start, files[name].tell() - start)
        places[meta.MetadataIndex("w", offsets, number)] = info
    properties = meta.TensorProperties(whole.dtype)
    index = meta.Metadata({"w": meta.TensorStorageMetadata(properties, whole.shape, chunks)}, {"w": ("w",)}, places)
    change(index)
    (folder / ".metadata").write_bytes(pickle.dumps(index))
    for name, file in files.items():
        (folder / name).write_bytes(file.getvalue())


WHOLE = torch.arange(60.0).reshape(6, 10)
ROWS: list[Box] = [(slice(a, b), slice(0, 10)) for a, b in ((0, 2), (2, 3), (3, 6))]
GRID: list[Box] = [(slice(a, b), slice(c, d)) for a, b in ((0, 4), (4, 6)) for c, d in ((0, 3), (3, 10))]


def referee(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # computed by this single process
        dcp_to_torch_save(folder, folder.with_suffix(".pt"))
    return torch.load(folder.with_suffix(".pt"), weights_only=True)


@pytest.mark.parametrize("boxes", [ROWS, GRID, list(reversed(GRID))], ids=["rows", "grid", "in another order"])
def test_parts_are_joined_as_pytorch_joins_them(tmp_path: Path, boxes: list[Box]) -> None:
    write(tmp_path / "dcp", WHOLE, boxes)
    ckpt = checkpoint.open(tmp_path / "dcp")
    assert (ckpt.format, list(ckpt)) == ("torch-distributed", ["w"])
    expected = referee(tmp_path / "dcp")["w"].numpy()
    assert ckpt["w"].read().tolist() == expected.tolist() == WHOLE.tolist()
    assert b"".join(ckpt["w"].pieces()) == expected.tobytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8, torch.bool, torch.complex64, torch.float8_e5m2], ids=str)
def test_dtypes_and_shapes(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {"scalar": torch.ones((), dtype=dtype), "none": torch.zeros((0, 3), dtype=dtype)}
    state |= {"turned": torch.ones(2, 3).to(dtype).T, "slice": torch.ones(8).to(dtype)[2:5]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": state, "step": 7}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    ckpt = checkpoint.open(tmp_path / "dcp")
    want = {name: (tuple(tensor.shape), tensor.to(torch.complex64).tolist()) for name, tensor in state.items()}
    found = {name: ckpt[name].read() for name in ckpt}
    assert {name: (array.shape, array.astype("complex64").tolist()) for name, array in found.items()} == want


def changed(field: str, value: object) -> Callable[[meta.Metadata], None]:
    """Return a function that changes the recorded place of the first part."""

    def change(index: meta.Metadata) -> None:
        object.__setattr__(next(iter(index.storage_data.values())), field, value)

    return change


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("length", 10**9), ("offset", 1 << 63), ("offset", -1), ("length", 3), ("length", None)),
        *(("relative_path", "../elsewhere"), ("relative_path", "/etc/passwd"), ("relative_path", "missing.distcp")),
        *(("relative_path", name) for name in ("", "..", "a\\b", "a\0b", "a\ud800")),
    ],
)
def test_a_part_that_cannot_be_there_is_refused(tmp_path: Path, field: str, value: object) -> None:
    write(tmp_path / "dcp", WHOLE, ROWS, changed(field, value))
    with pytest.raises((CorruptCheckpoint, MissingFile)):
        checkpoint.open(tmp_path / "dcp")


@pytest.mark.parametrize(
    ("boxes", "said"), [(ROWS[1:], "do not fill"), ([*ROWS, ROWS[0]], "overlap"), ([*GRID, ROWS[0]], "overlap")]
)
def test_parts_that_are_no_tiling_are_refused(tmp_path: Path, boxes: list[Box], said: str) -> None:
    write(tmp_path / "dcp", WHOLE, boxes)
    with pytest.raises(CorruptCheckpoint, match=said):
        checkpoint.open(tmp_path / "dcp")


def test_a_shape_beyond_the_files_is_refused(tmp_path: Path) -> None:
    def enlarge(index: meta.Metadata) -> None:
        entry: Any = index.state_dict_metadata["w"]
        entry.size = torch.Size((1 << 31, 1 << 31))
        entry.chunks = [meta.ChunkStorageMetadata(torch.Size((0, 0)), entry.size)]

    write(tmp_path / "dcp", WHOLE, [(slice(0, 6), slice(0, 10))], enlarge)
    with pytest.raises(CorruptCheckpoint):
        checkpoint.open(tmp_path / "dcp")


def test_parts_that_share_their_bytes_are_refused_as_few_bytes_could_be_read_without_end(tmp_path: Path) -> None:
    columns: list[Box] = [(slice(0, 6), slice(at, at + 1)) for at in range(10)]

    def share(index: meta.Metadata) -> None:
        first = next(iter(index.storage_data.values()))
        index.storage_data = dict.fromkeys(index.storage_data, first)

    write(tmp_path / "dcp", torch.ones(6, 10), columns, share)
    with pytest.raises(CorruptCheckpoint, match=r"its parts are said to have \d+ bytes, its files have \d+"):
        checkpoint.open(tmp_path / "dcp")


def test_a_changed_number_is_found(tmp_path: Path) -> None:
    write(tmp_path / "dcp", WHOLE, GRID)
    file = tmp_path / "dcp" / "__1_0.distcp"
    part = WHOLE[GRID[1]].contiguous().numpy().tobytes()
    file.write_bytes(file.read_bytes().replace(part, b"\1" + part[1:]))
    with pytest.raises(CorruptCheckpoint, match="w is damaged"):
        checkpoint.open(tmp_path / "dcp")["w"].read()


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "__1_0.distcp"])
def test_every_cut_is_found(tmp_path: Path, name: str) -> None:
    write(tmp_path / "dcp", WHOLE, ROWS)
    whole = (tmp_path / "dcp" / name).read_bytes()
    for size in range(0, len(whole), 41):
        (tmp_path / "dcp" / name).write_bytes(whole[:size])
        with pytest.raises(CkptError):
            checkpoint.open(tmp_path / "dcp")["w"].read()


class Acting:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch acted",)


def test_an_index_that_names_what_acts_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "dcp", WHOLE, ROWS, lambda index: setattr(index, "planner_data", Acting()))
    with pytest.raises(FormatError, match="system"):
        checkpoint.open(tmp_path / "dcp")
    assert not (tmp_path / "acted").exists()


def test_more_parts_side_by_side_than_are_compared_are_refused_in_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns: list[Box] = [(slice(0, 6), slice(at, at + 1)) for at in range(10)]
    write(tmp_path / "dcp", WHOLE, columns)
    assert checkpoint.open(tmp_path / "dcp")["w"].read().tolist() == WHOLE.tolist()
    monkeypatch.setattr("ckpttool.formats.pytorch.distributed_index.COMPARED_LIMIT", 44)
    with pytest.raises(CorruptCheckpoint, match="w is split into more parts than are supported"):
        checkpoint.open(tmp_path / "dcp")


def test_what_is_left_out_of_an_optimizer_is_verified_too(tmp_path: Path) -> None:
    write(tmp_path / "dcp", WHOLE, GRID, lambda index: setattr(index, "planner_data", {"w": ("optim", "momentum")}))
    assert not list(checkpoint.open(tmp_path / "dcp"))
    assert [(each.name, each.problem) for each in Distributed().verify(tmp_path / "dcp")] == [("w", None)]
    file = tmp_path / "dcp" / "__1_0.distcp"
    part = WHOLE[GRID[1]].contiguous().numpy().tobytes()
    file.write_bytes(file.read_bytes().replace(part, b"\1" + part[1:]))
    (checked,) = Distributed().verify(tmp_path / "dcp")
    assert checked.problem is not None
    assert "damaged" in checked.problem


def written(tmp_path: Path, change: Callable[[meta.Metadata], Any], boxes: list[Box] = ROWS) -> Path:
    write(tmp_path / "dcp", WHOLE, boxes, change)
    return tmp_path / "dcp"


def test_the_index_and_the_files_with_parts_mean_their_folder(tmp_path: Path) -> None:
    folder = written(tmp_path, id)
    for name in (".metadata", "__0_0.distcp", "__1_0.distcp"):
        assert checkpoint.open(folder / name)["w"].read().tolist() == WHOLE.tolist()
    (folder / "notes.txt").write_text("")
    (tmp_path / "other").mkdir()
    (folder / ".metadata").rename(tmp_path / "other" / ".metadata")
    for path in (folder, folder / "notes.txt", tmp_path / "other", tmp_path / "other" / ".metadata"):
        assert not Distributed().recognises(path)


def test_parts_of_a_brick_wall_do_not_overlap_and_empty_parts_have_no_place(tmp_path: Path) -> None:
    def with_empty(index: meta.Metadata) -> None:
        entry: Any = index.state_dict_metadata["w"]
        entry.chunks.append(meta.ChunkStorageMetadata(torch.Size((6, 0)), torch.Size((0, 10))))

    bricks: list[Box] = [(slice(a, b), slice(c, d)) for a, b, c, d in ((0, 1, 0, 3), (0, 6, 3, 10), (1, 6, 0, 3))]
    folder = written(tmp_path, with_empty, bricks)
    assert checkpoint.open(folder)["w"].read().tolist() == WHOLE.tolist()


def test_a_dtype_that_is_not_supported_is_left_out(tmp_path: Path) -> None:
    def quantised(index: meta.Metadata) -> None:
        entry: Any = index.state_dict_metadata["w"]
        entry.properties = meta.TensorProperties(torch.qint32)

    opened = checkpoint.open(written(tmp_path, quantised))
    assert (list(opened), len(opened.left_out), "qint32" in opened.left_out[0]) == ([], 1, True)


def entry_of(field: str, value: object) -> Callable[[meta.Metadata], None]:
    return lambda index: setattr(index.state_dict_metadata["w"], field, value)


def paths_of(**paths: object) -> Callable[[meta.Metadata], None]:
    """Return a function that gives `w`, and an object `v`, these paths."""

    def change(index: Any) -> None:
        index.state_dict_metadata["v"] = meta.BytesStorageMetadata()
        index.planner_data = paths

    return change


def place_of(key: Any, info: object) -> Callable[[meta.Metadata], None]:
    return lambda index: index.storage_data.update({key: info})  # type: ignore[dict-item]


KEY = meta.MetadataIndex("v", torch.Size((0, 0)))
INFO = _StorageInfo("__0_0.distcp", 0, 10)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda index: index.state_dict_metadata.update({7: meta.BytesStorageMetadata()}), "an entry without a name"),
        (place_of(meta.MetadataIndex(7, torch.Size((0, 0))), INFO), "has a part without its tensor and its place"),  # type: ignore[arg-type]
        (place_of(KEY, 3), "has a part without its tensor and its place"),
        (entry_of("properties", None), "has a tensor without a dtype"),
        (entry_of("properties", meta.ChunkStorageMetadata(torch.Size((1,)), torch.Size((1,)))), "without a dtype"),
        (entry_of("size", 3), "has an invalid shape"),
        (entry_of("size", (6, "10")), "has an invalid shape"),
        (entry_of("size", (1 << 62, 2)), "has a shape with too many elements"),
        (lambda index: setattr(index, "storage_data", [1]), "it is not an index of torch.distributed.checkpoint"),
        (entry_of("size", (5, 10)), r"a part of w is outside of its shape \[5, 10\]"),
        (entry_of("size", (6, 10, 1)), r"a part of w is outside of its shape \[6, 10, 1\]"),
        (changed("transform_descriptors", ["zstd"]), "w is compressed by an extension of its writer"),
        (paths_of(w=["w"]), "the index has no path of w"),
        (paths_of(w=()), "the index has no path of w"),
        (paths_of(w=("a", 1.5)), "the index has no path of w"),
        (paths_of(w=("a",), v=("a", "b")), "the index has a path of v that leads through a tensor"),
        (paths_of(w=("a",), v=("a",)), "the index has two values at the path of v"),
    ],
    ids=range(17),
)
def test_an_index_that_cannot_be_is_damaged(tmp_path: Path, change: Callable[[Any], Any], says: str) -> None:
    folder = written(tmp_path, change)
    with pytest.raises(CorruptCheckpoint, match=rf"\.metadata: .*{says}"):
        checkpoint.open(folder)


def test_an_index_is_limited_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path, id)
    monkeypatch.setattr(distributed_index, "INDEX_LIMIT", 10)
    with pytest.raises(CorruptCheckpoint, match=r"\.metadata has \d+ bytes, at most 10 of an index are read"):
        checkpoint.open(folder)


def test_the_places_of_parts_are_listed_by_file(tmp_path: Path) -> None:
    folder = written(tmp_path, id)
    places = distributed_index.read_places(folder / ".metadata")
    sizes = {name: (folder / name).stat().st_size for name in places}
    assert {name: sum(size for _, size in parts) for name, parts in places.items()} == sizes
    assert {name: len(parts) for name, parts in places.items()} == {"__0_0.distcp": 2, "__1_0.distcp": 1}
    write(tmp_path / "damaged", WHOLE, ROWS, changed("offset", -1))
    with pytest.raises(CorruptCheckpoint, match=r"\.metadata: the index lacks the place of a part of w"):
        distributed_index.read_places(tmp_path / "damaged" / ".metadata")


def test_properties_may_be_a_dict_of_their_names(tmp_path: Path) -> None:
    folder = written(tmp_path, entry_of("properties", SimpleNamespace(dtype=torch.float32)))
    assert checkpoint.open(folder)["w"].read().tolist() == WHOLE.tolist()


def replaced(tmp_path: Path, part: object, whole: torch.Tensor = WHOLE, **changes: bytes | None) -> Path:
    """Write a folder whose only part is another object, with changes to the members of its file."""
    torch.save(part, tmp_path / "part.pt")
    rewritten(tmp_path / "part.pt", tmp_path / "changed.pt", {f"part/{name}": raw for name, raw in changes.items()})
    content = (tmp_path / "changed.pt").read_bytes()
    write(tmp_path / "dcp", whole, [(slice(0, 6), slice(0, 10))], changed("length", len(content)))
    (tmp_path / "dcp" / "__0_0.distcp").write_bytes(content)
    return tmp_path / "dcp"


@pytest.mark.parametrize(("raw", "says"), [(None, "which is missing"), (bytes(8), "has 8 bytes, but 240 according")])
def test_a_part_without_its_numbers_is_damaged(tmp_path: Path, raw: bytes | None, says: str) -> None:
    with pytest.raises(CorruptCheckpoint, match=rf"__0_0\.distcp: .*storage 0,? {says}"):
        checkpoint.open(replaced(tmp_path, WHOLE, **{"data/0": raw}))["w"].read()


@pytest.mark.parametrize("part", [WHOLE.T.contiguous(), WHOLE.double(), {"w": WHOLE}], ids=["shape", "dtype", "kind"])
def test_a_part_that_is_not_what_the_index_declares_is_damaged(tmp_path: Path, part: object) -> None:
    with pytest.raises(CorruptCheckpoint, match="the part at byte 0 does not match what the index declares of w"):
        checkpoint.open(replaced(tmp_path, part))["w"].read()


def test_a_part_of_few_bytes_that_repeats_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="a part of w repeats the bytes of its storage"):
        checkpoint.open(replaced(tmp_path, torch.ones(1).expand(6, 10), WHOLE[:, :1].expand(6, 10)))["w"].read()


def test_a_bool_that_is_neither_is_damaged(tmp_path: Path) -> None:
    twos = torch.full((6, 10), 2, dtype=torch.uint8).view(torch.bool)
    with pytest.raises(CorruptCheckpoint, match="w contains a bool that is neither 0 nor 1"):
        checkpoint.open(replaced(tmp_path, twos, WHOLE.bool()))["w"].read()


def test_a_file_that_changes_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, id)
    opened = checkpoint.open(folder)
    os.utime(folder / "__1_0.distcp", (0, 0))
    with pytest.raises(CorruptCheckpoint, match=r"__1_0\.distcp changed while it was read"):
        opened["w"].read()
