"""A small model for the verbs; the networks and the rows are those of all tests."""

from pathlib import Path

import pytest

from ckpttool.model.model import Model


@pytest.fixture
def model(small: Path) -> Model:
    return Model.open(small)
