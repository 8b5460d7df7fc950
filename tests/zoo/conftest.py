"""An empty catalogue, small weights to add, and a hub to pull from and push to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from tests.hub_server import TOKEN, HubServer, running


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own catalogue, which does not exist yet."""
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


@pytest.fixture(scope="session")
def _server() -> Iterator[HubServer]:
    with running() as server:
        yield server
        server.shutdown()


@pytest.fixture
def hub(_server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """An empty hub, an empty cache, and a user with a token for the hub."""
    _server.reset()
    monkeypatch.setenv("HF_ENDPOINT", _server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    return _server
