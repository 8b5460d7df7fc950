"""Rows from a file: selected, fitted to the placeholders, and rejected if they do not fit."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import DataError, MissingFile
from ckpttool.data import dataset
from ckpttool.data.files import InputSpec, Wanted, open_data
from ckpttool.data.held_out import HeldOut
from ckpttool.data.splits import Split, check_class_numbers, check_labels, empty_classes

PIXELS = InputSpec("X", (None, 784), BY_NAME["float32"])
DIGITS = InputSpec("y", None, BY_NAME["int32"])
PAIRS = InputSpec("X", (None, 2), BY_NAME["float32"])
FIXTURES = Path(__file__).parents[2] / "fixtures"


def training_splits(path: Path, inputs: list[InputSpec], labels: InputSpec | None, valid: int | None) -> Any:
    held_out = HeldOut.parse(None if valid is None else f"first:{valid}")
    return dataset.training_splits(path, Wanted(tuple(inputs), labels), held_out)


def evaluation_split(path: Path, inputs: list[InputSpec], labels: InputSpec | None, *which: Any, **more: Any) -> Split:
    return dataset.evaluation_split(path, Wanted(tuple(inputs), labels), *which, **more)


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def pairs(rows: int) -> Any:
    return np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)


def images(rows: int) -> Any:
    return np.random.default_rng(rows).integers(0, 256, (rows, 28, 28)).astype(np.uint8)


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    labels = np.arange(20, dtype=np.uint8) % 10
    return save(tmp_path / "mnist.npz", x_train=images(20), y_train=labels, x_test=images(5), y_test=labels[:5])


def refusal(path: Path, inputs: list[InputSpec], labels: InputSpec | None = None, valid: int | None = None) -> str:
    with pytest.raises(DataError) as raised:
        training_splits(path, inputs, labels, valid)
    assert "\n" not in str(raised.value)
    return str(raised.value).replace(f"{path.parent}/", "")


def test_bytes_become_floats_as_the_chapter_makes_them_and_the_first_rows_are_held_out(mnist: Path) -> None:
    train, valid = training_splits(mnist, [PIXELS], DIGITS, valid=5)
    expected = images(20).astype(np.float32).reshape(-1, 784) / 255.0
    np.testing.assert_array_equal(train.inputs["X"], expected[5:])
    np.testing.assert_array_equal(valid.inputs["X"], expected[:5])
    assert (train.inputs["X"].dtype, train.rows, valid.rows) == (np.float32, 15, 5)
    assert train.labels is not None and valid.labels is not None
    assert (train.labels.dtype, train.labels.tolist()[:3], valid.labels.tolist()) == (
        np.int32,
        [5, 6, 7],
        [0, 1, 2, 3, 4],
    )
    assert train.notes == (
        "x_train: [15, 28, 28] reshaped to [15, 784] for X",
        "x_train: uint8 divided by 255 for the float input X; `preprocess` specifies other steps",
        "y_train: uint8 cast to int32 for y",
    )
    assert valid.notes[0] == "validation: the first 5 of 20 training rows"


def test_without_a_number_a_tenth_is_drawn_by_class(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", X=pairs(30), y=np.arange(30) // 10)
    train, valid = training_splits(path, [PAIRS], InputSpec("y", (None,), BY_NAME["int64"]), None)
    assert valid.labels is not None and valid.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(valid.inputs["X"], pairs(30)[valid.numbers])
    np.testing.assert_array_equal(train.inputs["X"], np.delete(pairs(30), valid.numbers, axis=0))
    assert valid.notes[0] == "validation: 3 of 30 rows, drawn by class with seed 42"


def test_validation_rows_of_the_file_come_first_and_an_unused_number_is_said(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", x_train=pairs(4), x_valid=pairs(2))
    train, valid = training_splits(path, [PAIRS], None, valid=3)
    assert (train.rows, valid.rows, train.labels) == (4, 2, None)
    assert valid.notes[0] == "validation: x_valid of the file; `valid` first:3 is not used"


def test_evaluation_takes_test_rows_then_validation_rows_then_all(tmp_path: Path) -> None:
    def evaluated(*names: str, **options: Any) -> tuple[str, int]:
        path = save(tmp_path / "d.npz", **{name: pairs(rows) for rows, name in enumerate(names, start=1)})
        split = evaluation_split(path, [PAIRS], None, **options)
        return split.name, split.rows

    assert evaluated("x_train", "x_valid", "x_test") == ("test", 3)
    assert evaluated("x_train", "x_valid") == ("valid", 2)
    assert evaluated("x_train") == ("train", 1)
    assert evaluated("X") == ("all", 1)
    assert evaluated("x_test", "x_train", split="train") == ("train", 2)


def test_a_split_that_the_file_does_not_have_is_refused(mnist: Path) -> None:
    with pytest.raises(
        DataError, match=r"no array for X: expected X_valid or x_valid.*found x_train \[20, 28, 28\] uint8"
    ):
        evaluation_split(mnist, [PIXELS], DIGITS, "valid")
    with pytest.raises(DataError, match="'tests' is not a split, expected one of train, valid, test"):
        evaluation_split(mnist, [PIXELS], DIGITS, "tests")


def test_several_inputs_go_by_their_placeholders_names(tmp_path: Path) -> None:
    wide, deep = InputSpec("wide/X", (None, 2), BY_NAME["float32"]), InputSpec("deep", (None,), BY_NAME["int64"])
    path = save(tmp_path / "d.npz", **{"wide/X_train": pairs(10), "deep_train": np.arange(10), "y_train": np.ones(10)})
    train, _ = training_splits(path, [wide, deep], InputSpec("y", (None,), BY_NAME["float32"]), 1)
    assert {name: array.shape for name, array in train.inputs.items()} == {"wide/X": (9, 2), "deep": (9,)}
    without = save(tmp_path / "w.npz", X_train=pairs(10), y_train=np.ones(10))
    assert refusal(without, [wide, deep]) == (
        "w.npz: no array for deep: expected deep_train, found X_train [10, 2] float32, y_train [10] float64"
    )


@pytest.mark.parametrize(
    ("stored", "wanted", "given"),
    [
        ((28, 28), (None, 28, 28, 1), (28, 28, 1)),
        ((28, 28, 1), (None, 28, 28), (28, 28)),
        ((28, 28, 1), (None, 784), (784,)),
        ((64,), (None, 8, 8, 1), (8, 8, 1)),
        ((64,), (None, 8, 8), (8, 8)),
        ((192,), (None, 8, 8, 3), (8, 8, 3)),
        ((4, 3), (None, None), (12,)),
        ((4, 3), (None, None, 3), (4, 3)),
        ((4, 3), None, (4, 3)),
    ],
)
def test_rows_take_the_placeholders_shape(tmp_path: Path, stored: Any, wanted: Any, given: Any) -> None:
    rows = np.arange(3 * np.prod(stored), dtype=np.float32).reshape(3, *stored)
    split = evaluation_split(save(tmp_path / "d.npz", x=rows), [InputSpec("X", wanted, BY_NAME["float32"])], None)
    np.testing.assert_array_equal(split.inputs["X"], rows.reshape(3, *given))


@pytest.mark.parametrize(
    ("stored", "wanted", "expected"),
    [
        ((27, 28), (None, 784), "d.npz: x has rows of [27, 28], expected rows of [784] for X"),
        (
            (28, 28, 3),
            (None, 28, 84),
            "d.npz: x has rows of [28, 28, 3], expected rows of [28, 84] for X; "
            "`preprocess` 'resize(28, 84); grayscale()' makes them fit",
        ),
        ((784,), (None, 28, 28, None), "d.npz: x has rows of [784], expected rows of [28, 28, any] for X"),
        (
            (63,),
            (None, 8, 8, 1),
            "d.npz: x has rows of [63], expected rows of [8, 8, 1] for X; "
            "flat rows are reshaped if they have 64 numbers",
        ),
        ((2,), (), "d.npz: x has rows of [2], expected a single value for X"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, stored: Any, wanted: Any, expected: str) -> None:
    path = save(tmp_path / "d.npz", x=np.ones((3, *stored), np.float32))
    assert refusal(path, [InputSpec("X", wanted, BY_NAME["float32"])], None, 1) == expected


@pytest.mark.parametrize(
    ("stored", "wanted", "note"),
    [
        (64, (None, 8, 8, 1), "x: [3, 64] reshaped to [3, 8, 8, 1] for X"),
        (192, (None, 8, 8, 3), "x: [3, 192] reshaped to [3, 8, 8, 3] for X, as images with channels last"),
    ],
)
def test_flat_rows_that_become_images_are_said(tmp_path: Path, stored: int, wanted: Any, note: str) -> None:
    path = save(tmp_path / "d.npz", x=np.ones((3, stored), np.float32))
    assert evaluation_split(path, [InputSpec("X", wanted, BY_NAME["float32"])], None).notes == (note,)


@pytest.mark.parametrize("wanted", ["float16", "bfloat16", "float64"])
def test_bytes_are_divided_for_every_float(tmp_path: Path, wanted: str) -> None:
    path = save(tmp_path / "d.npz", x=np.arange(256, dtype=np.uint8).reshape(128, 2))
    split = evaluation_split(path, [InputSpec("X", (None, 2), BY_NAME[wanted])], None)
    precision = np.float64 if wanted == "float64" else np.float32
    expected = (np.arange(256).astype(precision) / precision(255)).astype(BY_NAME[wanted].numpy).reshape(128, 2)
    assert split.inputs["X"].dtype == BY_NAME[wanted].numpy
    np.testing.assert_array_equal(split.inputs["X"].astype(np.float64), expected.astype(np.float64))


def test_values_that_a_cast_would_change_are_refused(tmp_path: Path) -> None:
    whole = InputSpec("y", (None,), BY_NAME["int32"])
    path = save(tmp_path / "d.npz", x=pairs(4), y=np.array([0.0, 1.0, 1.5, 2.0]))
    assert refusal(path, [PAIRS], whole, 1) == "d.npz: y row 2 has 1.5, expected a value in the range of int32"
    path = save(tmp_path / "d.npz", x=pairs(4), y=np.array([0, 1, 2**40, 2]))
    assert refusal(path, [PAIRS], whole, 1) == f"d.npz: y row 2 has {2**40}, expected a value in the range of int32"
    path = save(tmp_path / "d.npz", x=np.array([[0, 1], [2, 1e300], [4, 5]]))
    assert refusal(path, [PAIRS], None, 1) == "d.npz: x row 1 has 1e+300, expected a value in the range of float32"
    path = save(tmp_path / "d.npz", x=pairs(3), y=np.array([0.0, 1.0, 7.0]))
    labels = evaluation_split(path, [PAIRS], whole).labels
    assert labels is not None and (labels.dtype, labels.tolist()) == (np.int32, [0, 1, 7])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_value_that_is_not_finite_is_named_by_its_row_in_the_file(tmp_path: Path, value: float, dtype: Any) -> None:
    rows = np.zeros((40, 2), dtype)
    rows[17, 1] = value
    path = save(tmp_path / "d.npz", x_train=rows)
    assert refusal(path, [PAIRS], None, 5) == f"d.npz: x_train row 17 has {value}, expected finite numbers"


def test_bytes_for_labels_are_not_divided(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", x=pairs(2), y=np.array([3, 200], np.uint8))
    labels = evaluation_split(path, [PAIRS], InputSpec("y", (None,), BY_NAME["float32"])).labels
    assert labels is not None and labels.tolist() == [3.0, 200.0]


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [([0, 3, 3], 5, [1, 2, 4]), ([0, 1], 2, []), ([-1, 0], 2, []), ([0, 7], 3, []), ([0.0, 2.0], 3, [])],
    ids=["empty ones", "none empty", "no class", "no class of the model", "numbers"],
)
def test_classes_without_a_row_are_found(
    tmp_path: Path, labels: list[float], classes: int, expected: list[int]
) -> None:
    path = save(tmp_path / "d.npz", x=pairs(len(labels)), y=np.array(labels))
    wanted = InputSpec("y", (None,), BY_NAME["float32"]) if isinstance(labels[0], float) else DIGITS
    assert empty_classes(evaluation_split(path, [PAIRS], wanted), classes) == expected


def test_labels_must_name_an_output(mnist: Path, tmp_path: Path) -> None:
    train, _ = training_splits(mnist, [PIXELS], DIGITS, valid=5)
    check_labels(train, 10)
    with pytest.raises(DataError, match=r"mnist.npz: y_train row 6 is 6, expected 0 to 5: the model has 6 outputs"):
        check_labels(train, 6)
    path = save(tmp_path / "d.npz", x=pairs(3), y=np.array([1, -1, 0]))
    with pytest.raises(DataError, match=r"d.npz: y row 1 is -1, expected 0 to 9"):
        check_labels(evaluation_split(path, [PAIRS], DIGITS), 10)
    with pytest.raises(DataError, match=r"labels row 0 is 2"):
        check_labels(Split("made", {}, np.array([2]), 1), 2)
    check_labels(Split("made", {}, np.array([2.5]), 1), 2)


def test_rows_with_one_1_become_class_numbers_where_these_are_taken(tmp_path: Path) -> None:
    numbers, labels = InputSpec("y", (None,), BY_NAME["int32"]), np.eye(3, dtype=np.float32)[[2, 0, 1, 1]]
    found = evaluation_split(save(tmp_path / "d.npz", x=pairs(4), y=labels), [PAIRS], numbers)
    assert found.labels is not None
    assert found.labels.tolist() == [2, 0, 1, 1]
    assert "y: rows of 3, one of them 1, as class numbers for y" in found.notes
    for wrong in (labels + labels[::-1], labels * 0.5):
        path = save(tmp_path / "wrong.npz", x=pairs(4), y=wrong)
        with pytest.raises(DataError, match=r"y has rows of \[3\], expected rows of \[\] for y"):
            evaluation_split(path, [PAIRS], numbers)


def test_rows_of_classes_are_no_class_numbers(tmp_path: Path) -> None:
    anything = InputSpec("y", None, BY_NAME["int32"])
    rows = evaluation_split(save(tmp_path / "d.npz", x=pairs(2), y=np.eye(3, dtype=int)[:2]), [PAIRS], anything)
    with pytest.raises(DataError, match=r"d.npz: y has rows of \[3\], expected class numbers: save y.argmax\(axis=1\)"):
        check_class_numbers(rows, 3)
    check_class_numbers(rows, 2)
    check_class_numbers(Split("made", {}, np.array([0, 1]), 2), 2)


def test_rows_of_inputs_and_labels_must_be_as_many(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", x_train=pairs(4), y_train=np.arange(3))
    expected = "d.npz: x_train has 4 rows, y_train has 3 rows; expected as many of each"
    assert refusal(path, [PAIRS], DIGITS) == expected
    path = save(tmp_path / "d.npz", x_train=pairs(4), y_train=np.int32(3))
    assert refusal(path, [PAIRS], DIGITS, 1).startswith("d.npz: x_train has 4 rows, y_train has 0 rows")


@pytest.mark.parametrize("valid", [4, 5])
def test_rows_must_be_left_to_train_on_and_to_validate(tmp_path: Path, valid: int) -> None:
    said = refusal(save(tmp_path / "d.npz", x=pairs(4)), [PAIRS], None, valid)
    assert said == f"d.npz: {valid} of 4 rows for validation, expected 1 to 3"


@pytest.mark.parametrize("rows", [0, 1])
def test_one_row_cannot_be_split(tmp_path: Path, rows: int) -> None:
    said = refusal(save(tmp_path / "d.npz", x=pairs(rows)), [PAIRS], None, None)
    assert (
        said == f"d.npz: training rows: {rows}, expected at least 2, one of them for validation, or x_valid in the file"
    )


@pytest.mark.parametrize("shape", [(0, 2), ()])
def test_empty_data_is_refused(tmp_path: Path, shape: Any) -> None:
    path = save(tmp_path / "d.npz", x_test=np.zeros(shape, np.float32))
    with pytest.raises(DataError, match=re.escape(f"x_test is {list(shape)}: it has no rows")):
        evaluation_split(path, [PAIRS], None)


def test_missing_arrays_are_listed_with_the_names_that_would_do(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", images=pairs(4))
    assert refusal(path, [PAIRS], DIGITS) == (
        "d.npz: no array for X: expected X_train or x_train or X or x, found images [4, 2] float32"
    )
    path = save(tmp_path / "d.npz", x_train=pairs(4), y_test=np.arange(4))
    assert refusal(path, [PAIRS], DIGITS).startswith(
        "d.npz: no array for y: expected y_train or Y_train, found x_train"
    )


def test_text_is_no_input(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", x=np.array([["a", "b"]] * 3))
    assert refusal(path, [PAIRS], None, 1).endswith("expected float32 for X")


def test_files_that_are_no_data_are_refused(tmp_path: Path, mnist: Path) -> None:
    whole, text, objects = mnist.read_bytes(), tmp_path / "text.npz", tmp_path / "objects.npz"
    text.write_text("X,y\n")
    np.savez(objects, x=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        open_data(objects)
    with pytest.raises(DataError, match=r"not a .npz file"):
        open_data(text)
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"notes.txt is not a known kind of data: data are .npz, .npy, IDX"):
        open_data(tmp_path / "notes.txt")
    with pytest.raises(MissingFile, match=r"none.npz: no such file; data are .npz"):
        open_data(tmp_path / "none.npz")
    cut = tmp_path / "cut.npz"
    for length in [0, 4, 100, len(whole) // 2, len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.npz"):
            open_data(cut)


def test_a_flipped_bit_in_an_array_is_noticed(mnist: Path) -> None:
    damaged = bytearray(mnist.read_bytes())
    damaged[5000] ^= 1
    mnist.write_bytes(damaged)
    assert "x_train is damaged" in refusal(mnist, [PIXELS], DIGITS)


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", x=pairs(2))
    with zipfile.ZipFile(path) as archive:
        member = archive.read("x.npy")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("x.npy", member)
    with pytest.raises(DataError, match="two members are named"):
        open_data(path)


def test_a_model_without_inputs_takes_no_data(mnist: Path) -> None:
    with pytest.raises(DataError, match="no input to feed"):
        evaluation_split(mnist, [], None)


def test_the_fixture_has_the_first_rows_of_mnist() -> None:
    train, valid = training_splits(FIXTURES / "mnist_small.npz", [PIXELS], DIGITS, 1000)
    test = evaluation_split(FIXTURES / "mnist_small.npz", [PIXELS], DIGITS)
    assert (train.rows, valid.rows, test.name, test.rows) == (9000, 1000, "test", 2000)
    assert valid.labels is not None and valid.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    check_labels(train, 10)
