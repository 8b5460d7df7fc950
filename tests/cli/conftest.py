"""Running commands as a user does, with small inputs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ckpttool import checkpoint
from ckpttool.cli import main
from ckpttool.graph.files import load

FIXTURES = Path(__file__).parents[2] / "fixtures"
MODEL = FIXTURES / "my_model_final.ckpt"


class Shell:
    """Runs commands in this process; a wrong exit code fails the test with the output."""

    def run(self, *arguments: str | Path, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == exit_code, result.stdout + result.stderr + repr(result.exception)
        return result

    def lines(self, *arguments: str | Path, exit_code: int = 0) -> list[str]:
        return self.run(*arguments, exit_code=exit_code).stdout.splitlines()

    def json(self, *arguments: str | Path, exit_code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", exit_code=exit_code).stdout)

    def error(self, *arguments: str | Path) -> str:
        """The one line of an input error: exit 2, nothing on stdout."""
        result = self.run(*arguments, exit_code=2)
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("Error: ")
        return line.removeprefix("Error: ")


@pytest.fixture
def shell() -> Shell:
    return Shell()


@pytest.fixture
def model() -> Path:
    """The chapter's network, read-only."""
    return MODEL


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the chapter's network, to be damaged."""
    for path in FIXTURES.glob("my_model_final.ckpt.*"):
        shutil.copy(path, tmp_path)
    return tmp_path / "my_model_final.ckpt"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkpoint of four tensors without a graph: two weights, a slot and a step."""
    path = tmp_path / "tiny.ckpt"
    values = {
        "fc/bias": np.array([1.0, np.nan, np.inf], np.float32),
        "fc/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fc/kernel/Momentum": np.zeros((2, 3), np.float32),
        "global_step": np.array(7, np.int64),
    }
    checkpoint.save(values, path)
    return path


@pytest.fixture
def flip() -> Callable[[Path, int], None]:
    """Flip one bit of a file."""

    def flip_bit(path: Path, place: int) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)

    return flip_bit


@pytest.fixture(scope="session")
def make_trained(new_network: type[Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a maker of plain TensorFlow networks, trained for one step by Adam, with a loop and batch norm."""
    made: dict[tuple[bool, bool], Path] = {}

    def make(resource: bool = False, functional: bool = False) -> Path:
        if (resource, functional) not in made:
            folder = tmp_path_factory.mktemp("trained")
            made[resource, functional] = _trained(new_network(resource), functional, folder / "model.ckpt")
        return made[resource, functional]

    return make


def _trained(network: Any, functional: bool, prefix: Path) -> Path:
    tf, v1 = network.tf, network.v1
    with network.building(functional):
        X, y, training = network.inputs()
        layer = network.batch_norm(network.dense(X, 5, "h1"), training, "h1/norm")
        layer = network.dropout(layer, training, "drop")
        gain = network.variable("gain", [5], value=1.1)
        _, layer = tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, tf.tanh(x * gain)), (tf.constant(0), layer))
        table = network.variable("table", [3, 3])
        logits = network.dense(layer, 3, "out", relu=False)
        logits = tf.add(logits, tf.gather(table, tf.argmax(logits, 1)), name="logits")
        network.classify(logits, y, v1.train.AdamOptimizer(0.01))
        v1.summary.scalar("loss", network.graph.get_tensor_by_name("loss/loss:0"))
        saver = v1.train.Saver()
    with network.graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        session.run("train", {"X:0": np.ones((8, 4), np.float32), "y:0": np.arange(8) % 3, "training:0": True})
        saver.save(session, str(prefix), write_state=False)
    return prefix


@pytest.fixture
def computed(new_session: type[Any]) -> Callable[..., np.ndarray[Any, Any]]:
    """Return a plain session's outputs for a model: the reference for every rewriting."""

    def compute(prefix: Path, tensor: str, feed: dict[str, Any]) -> np.ndarray[Any, Any]:
        session = new_session(prefix, prefix)
        known = {name: value for name, value in feed.items() if name.split(":")[0] in load(prefix).nodes}
        found: np.ndarray[Any, Any] = session.run(tensor, known)
        return found

    return compute
