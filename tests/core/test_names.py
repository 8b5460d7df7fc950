"""The layer of a name."""

import pytest

from ckpttool.core.names import layer_of


@pytest.mark.parametrize(
    ("name", "layer"), [("hidden1/kernel", "hidden1"), ("a/b/c/gamma", "a/b/c"), ("W", "W"), ("", "")]
)
def test_a_layer_is_the_scope_of_a_variable(name: str, layer: str) -> None:
    assert layer_of(name) == layer
