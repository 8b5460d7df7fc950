"""Dividing tensors among files: none is lost, the order is kept, and no file is larger than necessary."""

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ckpttool.core.tensors import Tensor
from ckpttool.formats.writing.copying import split_by_size

SIZES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 9))


@given(SIZES, st.integers(1, 20))
def test_files_are_full_and_in_order(sizes: dict[str, int], limit: int) -> None:
    tensors = {name: Tensor.of(name, np.zeros(size, np.uint8)) for name, size in sizes.items()}
    found = [[sizes[name] for name in part] for part in split_by_size(tensors, limit)]
    assert [name for part in split_by_size(tensors, limit) for name in part] == list(sizes)
    assert all(sum(part) <= limit or len(part) == 1 for part in found)
    assert all(sum(part) + following[0] > limit for part, following in pairwise(found))


@given(SIZES)
def test_without_a_limit_there_is_one_file(sizes: dict[str, Any]) -> None:
    tensors = {name: Tensor.of(name, np.zeros(size, np.uint8)) for name, size in sizes.items()}
    assert split_by_size(tensors, None) == [tensors]
