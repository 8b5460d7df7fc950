"""Shapes with unknown sizes."""

from ckpttool.core.shapes import agrees, is_possible, shown


def test_a_size_that_is_open_takes_any_and_an_unknown_shape_every_shape():
    assert agrees((5, 3), (None, 3))
    assert not agrees((5, 2), (None, 3))
    assert not agrees((3,), (None, 3))
    assert agrees((5, 2), None)
    assert agrees((), ())


def test_a_shape_is_shown_with_its_open_sizes():
    assert [shown(shape) for shape in ((), (4,), (None, 28, 28))] == ["[]", "[4]", "[any, 28, 28]"]


def test_sizes_of_0_do_not_excuse_the_others():
    assert is_possible((), 8) and is_possible((0,), 8) and is_possible((1 << 59, 0, 15), 1)
    assert is_possible(((1 << 60) - 1,), 8) and not is_possible((1 << 60,), 8)
    assert not is_possible((0, 1 << 60), 8)
    assert not is_possible((3, -1)) and not is_possible((-2, -2))
