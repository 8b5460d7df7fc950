"""Slices of a tensor: within it, disjoint, and covering all of it; their keys are read as written."""

import itertools

import pytest

from ckpttool.formats.tensorflow.slices import FULL, Box, Extent, box_of, decode_key, encode_key, require_cover


@pytest.mark.parametrize(
    ("extents", "box"),
    [
        ((FULL, FULL), Box((0, 0), (4, 6))),
        (((0, 4), (0, 6)), Box((0, 0), (4, 6))),
        (((1, 3), (6, 0)), Box((1, 6), (3, 0))),
        (((0, 0), (5, 1)), Box((0, 5), (0, 1))),
    ],
)
def test_a_slice_is_in_its_tensor(extents: tuple[Extent, ...], box: Box) -> None:
    assert box_of(extents, (4, 6)) == box
    assert box_of((), ()) == Box((), ())


@pytest.mark.parametrize(
    ("extents", "says"),
    [
        ((FULL,), "a slice has 1 dimension, the tensor 2"),
        ((FULL, FULL, FULL), "a slice has 3 dimensions, the tensor 2"),
        (((-1, 3), FULL), "a slice from -1 of length 3 exceeds a dimension of 4"),
        (((0, -2), FULL), "a slice from 0 of length -2 exceeds a dimension of 4"),
        (((1, -1), FULL), "a slice from 1 of length -1 exceeds a dimension of 4"),
        ((FULL, (1, 6)), "a slice from 1 of length 6 exceeds a dimension of 6"),
        ((FULL, (7, 0)), "a slice from 7 of length 0 exceeds a dimension of 6"),
    ],
)
def test_a_slice_that_leaves_its_tensor(extents: tuple[Extent, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        box_of(extents, (4, 6))


CORNERS = [Box((y, x), (2, 3)) for y in (0, 2) for x in (0, 3)]


@pytest.mark.parametrize(
    ("boxes", "shape"),
    [
        (CORNERS, (4, 6)),
        ([*CORNERS, Box((1, 1), (0, 3)), Box((1, 1), (3, 0))], (4, 6)),
        ([Box((row, 0), (1, 6)) for row in (2, 0, 3, 1)], (4, 6)),
        ([Box((0, 0), (3, 4)), Box((3, 0), (1, 4)), Box((0, 4), (1, 2)), Box((1, 4), (3, 2))], (4, 6)),
        ([Box((), ())], ()),
        ([], (0, 3)),
        ([Box((0, 0), (0, 3)), Box((0, 0), (0, 3))], (0, 3)),
    ],
)
def test_slices_side_by_side_are_the_whole(boxes: list[Box], shape: tuple[int, ...]) -> None:
    for order in itertools.islice(itertools.permutations(boxes), 30):
        require_cover(list(order), shape)


@pytest.mark.parametrize(
    ("boxes", "shape", "says"),
    [
        (CORNERS[1:], (4, 6), "its slices contain 18 of 24 elements"),
        ([], (4, 6), "its slices contain 0 of 24 elements"),
        ([*CORNERS, CORNERS[0]], (4, 6), "its slices overlap"),
        ([*CORNERS[1:], CORNERS[1]], (4, 6), "its slices overlap"),
        ([*CORNERS[1:], Box((0, 1), (2, 3))], (4, 6), "its slices overlap"),
        ([*CORNERS[1:], Box((1, 0), (2, 3))], (4, 6), "its slices overlap"),
        ([Box((0,), (2,)), Box((1,), (2,))], (4,), "its slices overlap"),
        ([Box((), ()), Box((), ())], (), "its slices overlap"),
    ],
)
def test_slices_that_are_not_the_whole(boxes: list[Box], shape: tuple[int, ...], says: str) -> None:
    for order in itertools.islice(itertools.permutations(boxes), 30):
        with pytest.raises(ValueError, match=says):
            require_cover(list(order), shape)


def test_keys_are_read_as_they_are_written() -> None:
    for name, extents in ((b"w", ()), (b"", (FULL,)), (b"a\0\xff\0\1b", ((1 << 40, 3),) * 2), (b"w", ((0, 1),) * 300)):
        assert decode_key(encode_key(name, extents)) == (name, extents)


KEY = encode_key(b"w", ((2, 1 << 20),))


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (b"", "a slice's key starts with a zero byte"),
        (b"w", "a slice's key starts with a zero byte"),
        (KEY + b"\0", "a slice's key has bytes left over, or not enough"),
        (b"\0w\0\1", "a slice's key has bytes left over, or not enough"),
        (b"\0w\0\1\1", "a slice's key has bytes left over, or not enough"),
        (b"\0w\0\1\2\0\1" + KEY[6:], "a slice's key has bytes left over, or not enough"),
        (b"\0w\0\1\1\1", "a slice's key is truncated"),
        (KEY[:-1], "a slice's key is truncated"),
        (KEY[:-4], "a slice's key is truncated"),
        (b"\0w", "a slice's key has a name that does not end"),
        (b"\0w\0\2", "a slice's key has a name that does not end"),
        (b"\0w\xff\1\0\1\0", "a slice's key has a name that does not end"),
    ],
)
def test_what_is_no_key(key: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        decode_key(key)
