"""Shapes with unknown sizes."""

from ckpttool.core.shapes import agrees, shown


def test_a_size_that_is_open_takes_any_and_an_unknown_shape_every_shape():
    assert agrees((5, 3), (None, 3))
    assert not agrees((5, 2), (None, 3))
    assert not agrees((3,), (None, 3))
    assert agrees((5, 2), None)
    assert agrees((), ())


def test_a_shape_is_shown_with_its_open_sizes():
    assert [shown(shape) for shape in ((), (4,), (None, 28, 28))] == ["[]", "[4]", "[any, 28, 28]"]
