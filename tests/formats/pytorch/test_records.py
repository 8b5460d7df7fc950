"""Views of storages: which elements they span, and whether their bytes lie as they are read."""

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.formats.pytorch.records import Object, Pairs, Storage, View

FLOAT = BY_NAME["float32"]


@pytest.mark.parametrize(
    ("shape", "strides", "span", "whole"),
    [
        ((), (), 1, True),
        ((2, 3), (3, 1), 6, True),
        ((2, 3), (1, 2), 6, False),
        ((2, 3), (4, 1), 7, False),
        ((2, 3), (0, 1), 3, False),
        ((1, 3), (99, 1), 3, True),
        ((3, 1), (1, 7), 3, True),
        ((2, 2), (2, 0), 3, False),
        ((0, 5), (9, 1), 0, True),
        ((5, 0), (2, 3), 0, True),
        ((2, 0, 3), (1, 1, 2), 0, True),
    ],
)
def test_a_view_spans_its_elements_and_is_whole_if_they_lie_in_order(shape, strides, span, whole):
    view = View(Storage("0", FLOAT, 100), FLOAT, 0, shape, strides)
    assert (view.span, view.whole) == (span, whole)
    if span and not whole:
        numbers = np.arange(span, dtype="f4")
        wanted = np.lib.stride_tricks.as_strided(numbers, shape, [4 * each for each in strides])
        assert view.laid_out(numbers.view("u1")).tolist() == wanted.tolist()


def test_of_two_values_of_a_key_the_last_counts_and_other_keys_are_not_compared():
    pairs = Pairs([("a", 1), (7, 2), ("a", 3), (b"a", 4)])
    assert (pairs.get("a"), pairs.get("b")) == (3, None)


def test_the_attributes_of_an_object_are_its_dicts_and_its_parts_the_rest():
    one, other = Pairs([("a", 1)]), Pairs([("b", 2)])
    plain = Object("own.Class", (7, other), one, items=[5])
    assert (plain.attributes, plain.parts) == ([("a", 1), ("b", 2)], [5, 7])
    slots = Object("own.Class", (7,), (one, other, 8))
    assert (slots.attributes, slots.parts) == ([("a", 1), ("b", 2)], [7, 8])
    listed = Object("own.Class", (), [one, 8])
    assert (listed.attributes, listed.parts) == ([], [8])
