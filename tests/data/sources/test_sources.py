"""One data set has the same rows in every kind of file; errors contain the position in the file."""

import datetime
import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import CkptError, DataError, MissingFile, PlanError, UnknownName
from ckpttool.data import dataset
from ckpttool.data import rows as rows_module
from ckpttool.data.dataset import evaluation_split
from ckpttool.data.files import InputSpec, Wanted, open_data
from ckpttool.data.held_out import HeldOut
from ckpttool.data.preprocessing import Preprocessing
from ckpttool.data.splits import Split

WANTED = Wanted((InputSpec("X", (None, 4), BY_NAME["float32"]),), InputSpec("y", (None,), BY_NAME["int32"]))
IMAGES = Wanted((InputSpec("X", (None, 4, 4, 3), BY_NAME["float32"]),), InputSpec("y", (None,), BY_NAME["int32"]))
RANDOM = np.random.default_rng(3)
X = {name: RANDOM.normal(size=(count, 4)).astype(np.float32) for name, count in (("train", 30), ("test", 7))}
Y = {name: RANDOM.integers(0, 3, len(x)) for name, x in X.items()}


def training_splits(path: Path, wanted: Wanted, first: int | None) -> tuple[Split, Split]:
    """Hold out the first rows, or a random tenth without a number."""
    return dataset.training_splits(path, wanted, HeldOut.parse(None if first is None else f"first:{first}"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def npy_folder(folder: Path) -> Path:
    for name, x in X.items():
        np.save(folder / f"x_{name}.npy", x)
        np.save(folder / f"y_{name}.npy", Y[name])
    return folder


def idx_bytes(array: Any) -> bytes:
    kind = {"float32": 13, "uint8": 8}[array.dtype.name]
    return (
        struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def idx_folder(folder: Path) -> Path:
    for name, stem in (("train", "train"), ("test", "t10k")):
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(X[name])))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(Y[name].astype(np.uint8)))
    return folder


def hdf5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "rows.h5", "w") as file:
        for name, x in X.items():
            file.create_dataset(f"x_{name}", data=x, chunks=(5, 4), compression="gzip")
            file.create_dataset(f"y_{name}", data=Y[name])
    return folder / "rows.h5"


def write_csv(path: Path, x: Any, y: Any, names: list[str] | None = None) -> None:
    lines = [",".join([*"abcd", "label"])]
    labels = y if names is None else [names[label] for label in y]
    lines += [",".join([*map(repr, row.tolist()), str(label)]) for row, label in zip(x, labels, strict=True)]
    path.write_text("\n".join(lines) + "\n")


def csv_folder(folder: Path) -> Path:
    for name, x in X.items():
        write_csv(folder / f"{name}.csv", x, Y[name])
    return folder


def parquet(folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name, x in X.items():
        table = pa.table({"X": list(x), "y": Y[name]})
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=8)
    return folder


def tfrecord(folder: Path) -> Path:
    import tensorflow as tf

    for name, x in X.items():
        options = tf.io.TFRecordOptions(compression_type="GZIP" if name == "test" else "")
        with tf.io.TFRecordWriter(str(folder / f"{name}.tfrecord-00000-of-00001"), options) as writer:
            for row, label in zip(x, Y[name], strict=True):
                features = {
                    "X": tf.train.Feature(float_list=tf.train.FloatList(value=row)),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return folder


@pytest.mark.parametrize("write", [npy_folder, idx_folder, hdf5, csv_folder, parquet, tfrecord])
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    path = write(folder)
    for _ in range(2):  # staged files are found again
        train, valid = training_splits(path, WANTED, 5)
        test = evaluation_split(path, WANTED)
        np.testing.assert_allclose(np.concatenate([valid.inputs["X"][:], train.inputs["X"][:]]), X["train"], rtol=1e-6)
        np.testing.assert_array_equal(np.concatenate([valid.labels, train.labels]), Y["train"])
        np.testing.assert_allclose(test.inputs["X"][:], X["test"], rtol=1e-6)
        np.testing.assert_array_equal(test.labels, Y["test"])


def test_two_files_are_inputs_and_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X["train"])
    np.save(tmp_path / "b.npy", Y["train"])
    found = evaluation_split(f"{tmp_path}/a.npy,{tmp_path}/b.npy", WANTED)
    np.testing.assert_array_equal(found.inputs["X"][:], X["train"])
    np.testing.assert_array_equal(found.labels, Y["train"])
    with pytest.raises(MissingFile, match=r"c\.npy: no such file"):
        open_data(f"{tmp_path}/a.npy,{tmp_path}/c.npy")


@pytest.mark.parametrize("write", [npy_folder, hdf5, csv_folder])
def test_large_inputs_stay_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], Path]
) -> None:
    """The fitted rows are not kept in memory; any rows can be read, in any order and repeatedly."""
    monkeypatch.setattr("ckpttool.data.fitting.IN_MEMORY", 100)
    folder = tmp_path / "data"
    folder.mkdir()
    train, _ = training_splits(write(folder), WANTED, 5)
    rows = train.inputs["X"]
    assert isinstance(rows, rows_module.LazyRows)
    order = np.array([20, 3, 3, 0, 24, 11])
    np.testing.assert_allclose(rows[order], X["train"][5:][order], rtol=1e-6)
    np.testing.assert_allclose(rows[4:9], X["train"][9:14], rtol=1e-6)
    assert (rows.shape, rows.nbytes, len(rows)) == ((25, 4), 400, 25)


def test_classes_by_name_and_splits_by_column(tmp_path: Path) -> None:
    names = ["cat", "dog", "ant"]
    lines = ["label,a,b,c,d,split"]
    for split, x in X.items():
        for row, label in zip(x, Y[split], strict=True):
            lines.append(",".join([names[label], *map(repr, row.tolist()), split]))
    (tmp_path / "all.csv").write_text("\n".join(lines))
    train, _ = training_splits(tmp_path / "all.csv", WANTED, 1)
    assert "label: ant = 0, cat = 1, dog = 2" in train.notes
    assert "x: columns a, b, c, d" in train.notes
    numbers = np.array([1, 2, 0])
    np.testing.assert_array_equal(train.labels, numbers[Y["train"][1:]])
    np.testing.assert_array_equal(evaluation_split(tmp_path / "all.csv", WANTED).labels, numbers[Y["test"]])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: [*lines[:3], "1,2,3", *lines[3:]], r"row 2 has 3 values, its header 5"),
        (
            lambda lines: [*lines[:4], "1,2,x,4,0"],
            r"row 3: c is 'x', expected a number; text is possible only for labels, or a `group`",
        ),
        (lambda lines: [*lines[:4], "1,,3,4,0"], r"row 3: b has no value"),
        (lambda lines: [*lines[:4], "1,2,3,4,"], r"row 3: label has no value"),
        (
            lambda lines: [line.rpartition(",")[2] for line in lines],
            r"no column for the inputs; found label",
        ),
        (
            lambda lines: ["a,b,c,d,e", *lines[1:]],
            r"no column of labels, expected one named y, .*; found a, b, c, d, e",
        ),
        (lambda lines: ["a,a,c,d,label", *lines[1:]], r"expected a header with a name for each column"),
        (lambda lines: [], r"expected a header"),
        (lambda lines: ["\udcacb", *lines], r"its header cannot be read: 'utf-8' codec"),
        (
            lambda lines: [f"{lines[0]},split", *(f"{line},train" for line in lines[1:3]), "1,2,3,4,0,Train"],
            r"row 2: split is 'Train', expected train, valid, test",
        ),
        (lambda lines: [*lines[:4], "1,2,inf,4,0"], r"x row 3 has inf, expected finite numbers"),
    ],
)
def test_what_is_wrong_in_a_csv_is_told_with_its_row(
    tmp_path: Path, change: Callable[[list[str]], list[str]], problem: str
) -> None:
    write_csv(tmp_path / "rows.csv", X["train"], Y["train"])
    text = "\n".join(change((tmp_path / "rows.csv").read_text().splitlines()))
    (tmp_path / "rows.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=problem):
        training_splits(tmp_path / "rows.csv", WANTED, None)
    assert not list((tmp_path / "cache").rglob("*.npy")) or "inf" in problem


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ([datetime.date(2020, 1, 1)] * 2, r"a is datetime64\[D\], expected numbers"),
        ([{"b": 1}] * 2, r"row 0: a is \"{'b': 1}\", expected a number"),
        ([["b", "c"]] * 2, r"row 0: a is .*'b'.*, expected a number"),
        ([[[1.0], [2.0]]] * 2, r"row 0: a is .*, expected a number"),
        ([b"b\xff"] * 2, r"row 0: a is 'b.*xff', expected a number"),
        ([[1.0], [1.0, 2.0]], r"a contains lists of 1 to 2 values, expected one length"),
    ],
)
def test_columns_that_are_no_numbers_are_refused_where_they_are_wanted(
    tmp_path: Path, column: list[Any], problem: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": column, "y": [0, 1]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=problem):
        training_splits(tmp_path / "rows.parquet", WANTED, None)
    if "length" not in problem:
        pq.write_table(pa.table({"a": column, "X": [[Decimal(1)] * 4] * 2, "y": [0, 1]}), tmp_path / "rows.parquet")
        assert training_splits(tmp_path / "rows.parquet", WANTED, 1)[0].inputs["X"].shape == (1, 4)


def test_numbers_and_vectors_in_parquet_are_columns_of_one_input(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"price": [1.0, 2.0], "place": [[3.0, 4.0], [5.0, 6.0]], "area": [7, 8], "y": [0, 1]})
    pq.write_table(table, tmp_path / "rows.parquet")
    rows = training_splits(tmp_path / "rows.parquet", WANTED, 1)[0].inputs["X"]
    assert rows[:].tolist() in ([[1, 3, 4, 7]], [[2, 5, 6, 8]])  # one of two is held out


def test_a_null_in_parquet_is_told_with_its_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1.0, None], "b": [1.0, 2.0], "y": [0, 1]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet row 1: a has no value"):
        training_splits(tmp_path / "rows.parquet", WANTED, None)
    (tmp_path / "text.parquet").write_text("no Parquet")
    with pytest.raises(DataError, match="is not a Parquet file, or damaged"):
        training_splits(tmp_path / "text.parquet", WANTED, None)


def test_names_in_parquet_that_are_no_text(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"name": [1.0], "y": [0]}), tmp_path / "rows.parquet", store_schema=False)
    raw = (tmp_path / "rows.parquet").read_bytes()
    (tmp_path / "rows.parquet").write_bytes(raw.replace(b"name", b"na\xffe"))
    with pytest.raises(DataError, match=r"is not a Parquet file, or damaged: .*can't decode byte 0xff"):
        training_splits(tmp_path / "rows.parquet", WANTED, None)


def write_image(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (9, 5)) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_images_are_resized_and_classes_numbered_by_name(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("valid", 2)):
        for number in range(count):
            write_image(tmp_path / "data" / split / "red" / f"{number}.png", (255, 0, 0))
            write_image(tmp_path / "data" / split / "blue" / f"{number}.bmp", (0, 0, 255), (3 + number, 40))
    train, valid = training_splits(tmp_path / "data", IMAGES, None)
    assert "classes: blue = 0, red = 1" in train.notes
    assert train.inputs["X"].shape == (8, 4, 4, 3)
    assert (train.rows, valid.rows) == (8, 4)
    np.testing.assert_array_equal(train.labels, [0] * 4 + [1] * 4)
    np.testing.assert_allclose(train.inputs["X"][7], np.broadcast_to([1.0, 0, 0], (4, 4, 3)))
    assert "images: resized to 4 x 4 x 3, by Pillow: bilinear, antialias, rounded to bytes" in train.notes
    advice = "resize(4, 4); scale(1/255)"
    assert any(f"`preprocess` '{advice}' resizes them as a served graph does" in note for note in train.notes)
    told = replace(IMAGES.inputs[0], steps=Preprocessing.parse(advice).steps)
    np.testing.assert_allclose(
        training_splits(tmp_path / "data", replace(IMAGES, inputs=(told,)), None)[0].inputs["X"],
        train.inputs["X"],
        atol=1e-6,
    )


@pytest.mark.parametrize("steps", [None, "resize(5, 9); scale(1/255)", "resize(3, 3, method=nearest); scale(1/255)"])
def test_images_are_kept_as_bytes_where_resizing_makes_no_fractions(tmp_path: Path, steps: str | None) -> None:
    write_image(tmp_path / "a.png", (255, 0, 0))
    said = Preprocessing.parse(steps).steps if steps else None
    split = evaluation_split(tmp_path, Wanted((InputSpec("X", (None, None, None, 3), BY_NAME["float32"], said),)))
    assert split.stored["X"].array.dtype == np.uint8
    assert split.inputs["X"][0, 0, 0].tolist() == [1, 0, 0]
    sizes = "3 x 3 x 3, resize(3, 3, method=nearest)" if steps and "nearest" in steps else "5 x 9 x 3"
    assert f"images: {'resized to ' * ('nearest' in sizes)}{sizes}" in split.notes


@pytest.mark.parametrize(("steps", "crop"), [("resize(4, 5)", False), ("resize(4, 5, crop=center); rgb()", True)])
def test_images_are_resized_as_the_preprocessing_says(tmp_path: Path, steps: str, crop: bool) -> None:
    import keras
    from PIL import Image

    random = np.random.default_rng(0)
    for name, size in (("a", (9, 13, 3)), ("b", (30, 6, 3))):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(random.integers(0, 256, size).astype(np.uint8)).save(tmp_path / "data" / name / "0.png")
    said = Preprocessing.parse(steps).steps
    open_size = Wanted((InputSpec("X", (None, None, None, 3), BY_NAME["float32"], said),))
    split = evaluation_split(tmp_path / "data", open_size)
    own = keras.utils.image_dataset_from_directory(
        tmp_path / "data", labels=None, image_size=(4, 5), shuffle=False, crop_to_aspect_ratio=crop, verbose=False
    )
    expected = np.concatenate([batch.numpy() for batch in own])
    np.testing.assert_allclose(split.inputs["X"], expected, rtol=1e-5, atol=1e-3)
    assert split.stored["X"].array.dtype == np.float32
    several = (
        r"one size: .*0\.png has \[30, 6\], .*0\.png \[9, 13\]; `preprocess` with `resize\(224, 224\)` makes it one"
    )
    with pytest.raises(PlanError, match=several):
        evaluation_split(tmp_path / "data", Wanted((replace(open_size.inputs[0], steps=None),)))


def test_an_input_of_any_size_takes_images_of_one_size_as_they_are(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6
    Image.fromarray(np.rot90(pixels).copy()).save(tmp_path / "b.png", exif=on_its_side)
    split = evaluation_split(tmp_path, Wanted((InputSpec("X", (None, None, None, 3), BY_NAME["uint8"]),)))
    np.testing.assert_array_equal(split.inputs["X"], [pixels, pixels])
    (tmp_path / "c.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"c\.png is not an image"):
        evaluation_split(tmp_path, Wanted((InputSpec("X", (None, None, None, 3), BY_NAME["uint8"]),)))


def test_images_without_labels_lie_in_the_folder_itself(tmp_path: Path) -> None:
    for name, colour in (("b", (0, 255, 0)), ("a", (255, 0, 0))):
        write_image(tmp_path / "flat" / f"{name}.png", colour)
    split = evaluation_split(tmp_path / "flat", Wanted(IMAGES.inputs))
    assert split.inputs["X"][:, 0, 0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert split.labels is None
    assert "images: in the order of their names" in split.notes
    with pytest.raises(DataError, match="has images, but not in one folder per class"):
        evaluation_split(tmp_path / "flat", IMAGES)


@pytest.mark.parametrize("steps", [None, "resize(4, 4, antialias=True); scale(1/255)"])
def test_images_in_records_are_resized_as_those_of_a_folder(tmp_path: Path, steps: str | None) -> None:
    from PIL import Image

    (tmp_path / "data").mkdir()
    pixels = RANDOM.integers(0, 256, (9, 13, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "data" / "a.png")
    examples(tmp_path / "rows.tfrecord", [{"raw": (tmp_path / "data" / "a.png").read_bytes()}])
    said = Preprocessing.parse(steps).steps if steps else None
    wanted = Wanted((replace(IMAGES.inputs[0], steps=said),), features="X = image('raw', 4, 4, 3)")
    found = evaluation_split(tmp_path / "rows.tfrecord", wanted)
    expected = evaluation_split(tmp_path / "data", wanted)
    np.testing.assert_array_equal(found.inputs["X"], expected.inputs["X"])
    how = "resize(4, 4, antialias=True)" if steps else "by Pillow"
    assert any(f"those of other sizes resized {how}" in note for note in found.notes)


def test_what_is_wrong_with_images_is_told(tmp_path: Path) -> None:
    write_image(tmp_path / "data" / "red" / "0.png", (255, 0, 0))
    (tmp_path / "data" / "red" / "1.png").write_text("no image")
    with pytest.raises(DataError, match=r"red/1.png is not an image, or damaged"):
        training_splits(tmp_path / "data", IMAGES, None)
    (tmp_path / "data" / "red" / "1.png").unlink()
    (tmp_path / "data" / "blue").mkdir()
    with pytest.raises(DataError, match=r"blue has no images"):
        training_splits(tmp_path / "data", IMAGES, None)
    flat = Wanted((InputSpec("X", (None, 7), BY_NAME["float32"]),), IMAGES.labels)
    with pytest.raises(PlanError, match=r"images need one input of \[rows, height, width, channels\]"):
        training_splits(tmp_path / "data", flat, None)


def test_an_image_that_claims_more_pixels_than_its_file_may_hold_is_not_unpacked(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "data").mkdir()
    Image.new("L", (9000, 9000)).save(tmp_path / "data" / "a.png")
    blank = Wanted((InputSpec("X", (None, 28, 28, 1), BY_NAME["uint8"]),))
    with pytest.raises(DataError, match=r"^\S+a\.png declares 9000 x 9000 pixels in \d+ bytes: it is not decompressed"):
        evaluation_split(tmp_path / "data", blank)
    Image.new("L", (1900, 2000)).save(tmp_path / "data" / "a.png")
    assert evaluation_split(tmp_path / "data", blank).rows == 1


@pytest.mark.parametrize(("row", "what"), [({}, "the first record"), ({"X": []}, "X")])
def test_records_that_hold_nothing_are_told(tmp_path: Path, row: dict[str, Any], what: str) -> None:
    path = examples(tmp_path / "rows.tfrecord", [row])
    with pytest.raises(DataError, match=f"rows.tfrecord: {what} has no values"):
        open_data(path)


def test_an_image_held_in_no_known_way_is_seen_as_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((9, 13, 3), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Exif, "get", lambda *_: b"side")
    split = evaluation_split(tmp_path, Wanted((InputSpec("X", (None, None, None, 3), BY_NAME["uint8"]),)))
    assert split.inputs["X"].shape == (1, 9, 13, 3)


def examples(path: Path, rows: list[dict[str, Any]]) -> Path:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            features = {}
            for name, value in row.items():
                if isinstance(value, bytes):
                    features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                elif isinstance(value, list):
                    features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=value))
                else:
                    features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


def test_bytes_in_records_are_what_is_said_of_them(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (6, 4), np.uint8)
    rows = [{"image/raw": row.tobytes(), "image/class": number} for number, row in enumerate(pixels)]
    path = examples(tmp_path / "rows.tfrecord", rows)
    with pytest.raises(DataError) as caught:
        training_splits(path, WANTED, 2)
    draft = "y = int64('image/class'); X = bytes('image/raw', uint8, 4)"
    assert str(caught.value).endswith(f'image/raw is bytes; specify what the records contain: `features` "{draft}"')
    said = Wanted(WANTED.inputs, WANTED.labels, "X = bytes('image/raw', uint8, 4); y = int64('image/class')")
    train, _ = training_splits(path, said, 2)
    np.testing.assert_allclose(train.inputs["X"][:], pixels[2:] / 255, rtol=1e-6)
    np.testing.assert_array_equal(train.labels, [2, 3, 4, 5])


@pytest.mark.parametrize(
    ("features", "error", "problem"),
    [
        ("X = bytes('image/raw', uint8, 5); y = int64('image/class')", DataError, r"record 0: image/raw .* 4 bytes"),
        ("X = bytes('raw', uint8, 4)", DataError, r"record 0 has no feature raw; nearest: image/raw"),
        ("X = float('image/raw', 4)", DataError, r"image/raw is a bytes_list, expected a float_list"),
        ("X = image('image/raw', 4, 4)", PlanError, r"an image needs its height, width and channels"),
        ("X = raw(4)", UnknownName, r"`features`, line 1, column 5, at 'raw\(4\)': no kind 'raw'"),
        ("float(4)", PlanError, r"expected a name before it"),
        ("X = bytes('image/raw', text, 4)", PlanError, r"expected one of uint8"),
        ("X = image('image/raw', 4, 4, 3)", DataError, r"record 0: image/raw is not an image"),
    ],
)
def test_what_records_do_not_hold_is_told(tmp_path: Path, features: str, error: type[CkptError], problem: str) -> None:
    path = examples(tmp_path / "rows.tfrecord", [{"image/raw": bytes(4), "image/class": 1}] * 3)
    with pytest.raises(error, match=problem):
        training_splits(path, Wanted(WANTED.inputs, WANTED.labels, features), 1)


@pytest.mark.parametrize("place", [0, 8, 12, 40, -1], ids=["length", "its checksum", "record", "middle", "tail"])
def test_a_flipped_bit_in_a_record_is_found(tmp_path: Path, place: int) -> None:
    path = examples(tmp_path / "rows.tfrecord", [{"X": [1.0, 2.0, 3.0, 4.0], "y": 1}] * 2)
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=rf"rows.tfrecord record {1 if place < 0 else 0}"):
        training_splits(path, WANTED, 1)


def test_names_of_arrays_are_no_places_of_files(tmp_path: Path) -> None:
    outside = str(tmp_path / "evil")
    names = ["image/height", "..", "../../../evil", outside, "a b%2F", "nul\0", "é"]
    found = open_data(examples(tmp_path / "rows.tfrecord", [dict.fromkeys(names, 1)]))
    assert {name: rows[:].tolist() for name, rows in found.arrays.items()} == {name: [1] for name in names}
    (tmp_path / "rows.csv").write_text("X,Z\n1,2\n")
    inputs = (InputSpec("tower/X", (None, 1), BY_NAME["float32"]), InputSpec("../Z", (None, 1), BY_NAME["float32"]))
    assert sorted(open_data(tmp_path / "rows.csv", Wanted(inputs)).arrays) == ["../Z", "tower/X"]
    cache = tmp_path / "cache" / "ckpttool" / "rows"
    assert {each.parent.parent for each in tmp_path.rglob("*.npy")} == {cache}


def test_a_record_that_is_cut_short_is_found(tmp_path: Path) -> None:
    path = examples(tmp_path / "rows.tfrecord", [{"X": [1.0, 2.0, 3.0, 4.0], "y": 1}] * 2)
    raw = path.read_bytes()
    for length in (len(raw) - 1, len(raw) - 6, len(raw) // 2 + 5):
        path.write_bytes(raw[:length])
        with pytest.raises(DataError, match=r"record 1.* truncated"):
            training_splits(path, WANTED, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"0",
        lambda raw: b"\1" + raw[1:],
        lambda raw: raw[:3] + b"\x80" + raw[4:],
        lambda raw: raw[:6],
        lambda raw: gzip.compress(raw + bytes(1 << 20)),
        lambda raw: gzip.compress(raw)[:-9],
    ],
)
def test_a_damaged_idx_file_is_found(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    idx_folder(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes(change(labels.read_bytes()))
    with pytest.raises(DataError, match="train-labels-idx1-ubyte"):
        training_splits(tmp_path, WANTED, 2)


def test_hdf5_that_points_out_of_itself_is_refused(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["x_train"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(DataError, match=r"rows\.h5"):
        open_data(tmp_path / "rows.h5")


def test_keras_data_come_from_where_keras_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("ckpttool.data.sources.keras._SITE", (tmp_path / "site").as_uri())
    place = tmp_path / "datasets" / "mnist.npz"
    with pytest.raises(
        MissingFile, match=rf"{place} is missing, and file://.* cannot be reached.* download it to there"
    ):
        open_data("keras:mnist")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mnist.npz").write_bytes(b"something else")
    with pytest.raises(DataError, match="its SHA-256 is"):
        open_data("keras:mnist")
    place.parent.mkdir()
    np.savez(place, x_train=X["train"], y_train=Y["train"])
    assert evaluation_split("keras:mnist", WANTED).rows == 30
    with pytest.raises(DataError, match="keras:mnst: no such data set of Keras; nearest: mnist; known: mnist, f"):
        open_data("keras:mnst")


def test_class_numbers_become_rows_where_the_labels_are_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=X["test"], y=Y["test"])
    dense = Wanted(WANTED.inputs, InputSpec("y", (None, 3), BY_NAME["float32"]))
    found = evaluation_split(tmp_path / "rows.npz", dense)
    np.testing.assert_array_equal(found.labels, np.eye(3)[Y["test"]])
    assert "y: class numbers as rows of 3, one of them 1, for y" in found.notes
    two = Wanted(WANTED.inputs, InputSpec("y", (None, 2), BY_NAME["float32"]))
    with pytest.raises(DataError, match=r"y row \d is 2, expected 0 to 1"):
        evaluation_split(tmp_path / "rows.npz", two)
