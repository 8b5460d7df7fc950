"""A single `.npy` is memory-mapped; types without a tensor equivalent are rejected."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.formats.npz.npy import mapped


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_mapped_as_numpy_wrote_it(tmp_path: Path, order: str) -> None:
    array = np.asarray(np.arange(6, dtype=np.float32).reshape(2, 3), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(mapped(tmp_path / "a.npy"), array)


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    with pytest.raises(FormatError, match=r"a\.npy is not an .npy file of numbers: it"):
        mapped(tmp_path / "a.npy")


@pytest.mark.parametrize("code", ["|S0", "<U0"])
def test_any_number_of_strings_of_no_length_is_refused(tmp_path: Path, code: str) -> None:
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": code, "fortran_order": False, "shape": (1 << 40,)})
    with pytest.raises(FormatError, match=r"a\.npy is not an .npy file of numbers: it contains strings of length 0"):
        mapped(tmp_path / "a.npy")
    opened = checkpoint.open(tmp_path / "a.npy")
    assert (list(opened), len(opened.left_out)) == ([], 1)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"PK\3\4 zip")
    with pytest.raises(FormatError, match="it begins with 50 4b 03 04 20 7a"):
        mapped(tmp_path / "a.npy")
