"""A catalogue to begin, and small weights to put into it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own catalogue, which is not there yet."""
    monkeypatch.setenv("CKPTTOOL_ZOO", str(tmp_path / "zoo"))
    return tmp_path / "zoo"


@pytest.fixture
def weights(tmp_path: Path) -> Callable[..., Path]:
    """A file of tensors of 3x2 numbers, each of one value."""

    def write(name: str, **values: float) -> Path:
        path = tmp_path / name
        checkpoint.save(
            {key: np.full((3, 2), value, np.float32) for key, value in values.items()}, path, overwrite=True
        )
        return path

    return write
