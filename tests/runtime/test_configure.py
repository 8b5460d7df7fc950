"""TensorFlow is configured by the owner of the process: by the command line, but not in a library user's program.

Settings take effect before TensorFlow is imported, so each case has its own process.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, MissingDependency, PlanError
from ckpttool.model.model import Model
from ckpttool.runtime.configure import keras as keras_on_tensorflow

NAMES = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTEROP_THREADS")
THREADS = """
import collections, glob, json, logging, os
def state():
    names = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTEROP_THREADS")
    return {name: os.environ.get(name) for name in names}
def threads():
    import tensorflow as tf
    tf.function(lambda: tf.add(1, 2))()
    return [open(path).read().strip() for path in glob.glob("/proc/self/task/*/comm")].count("tf_Compute")
"""


def run(program: str, *arguments: object, **environment: str) -> tuple[Any, str]:
    """Run a program without this process's environment; return its JSON output, and its errors."""
    inherited = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", THREADS + program, *map(str, arguments)]
    result = subprocess.run(command, env=inherited | environment, capture_output=True, text=True, check=True)
    return json.loads(result.stdout or "null"), result.stderr


def settings(level: str | None, onednn: str | None, started_by: str | None) -> Mapping[str, str | None]:
    return dict(zip(NAMES, (level, onednn, started_by), strict=True))


def test_a_library_users_program_is_left_as_it_is() -> None:
    program = """
import sys
from ckpttool.runtime.configure import tensorflow
before = state(), logging.getLogger("tensorflow").level
tf = tensorflow()
inter_op = tf.config.threading.get_inter_op_parallelism_threads()
keras = [name for name in sys.modules if name.partition(".")[0] == "keras"]
print(json.dumps([state() == before[0], inter_op, tf.get_logger().isEnabledFor(logging.WARNING), keras]))
from tensorflow.keras.layers import Dense
import keras.src.optimizers
assert Dense is tf.keras.layers.Dense is keras.layers.Dense
assert tf.keras.optimizers.Adam is keras.src.optimizers.Adam
"""
    assert run(program)[0] == [True, 0, True, []], "Keras is imported by who asks for it"


@pytest.mark.parametrize(
    ("call", "given", "expected"),
    [
        ("configure_tensorflow()", {}, settings("3", "0", "1")),
        ("configure_tensorflow(convolutions=True)", {}, settings("3", "1", "0")),
        ("configure_tensorflow(); configure_tensorflow(convolutions=True)", {}, settings("3", "1", "0")),
        ("configure_tensorflow(convolutions=True, threads=1)", {}, settings("3", "0", "1")),
        ("configure_tensorflow(convolutions=True)", {NAMES[1]: "0"}, settings("3", "0", "0")),
        ("configure_tensorflow()", {NAMES[0]: "1", NAMES[2]: "5"}, settings("1", "0", "5")),
    ],
)
def test_a_network_with_convolutions_is_computed_in_another_way_than_one_without(
    call: str, given: dict[str, str], expected: Mapping[str, str | None]
) -> None:
    program = f"from ckpttool.runtime.configure import configure_tensorflow\n{call}\nprint(json.dumps(state()))"
    assert run(program, **given)[0] == expected


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_ops_are_started_by_as_many_threads_as_configured_which_stay_once_they_run() -> None:
    program = """
from ckpttool.core.errors import PlanError
from ckpttool.runtime.configure import configure_tensorflow, tensorflow
configure_tensorflow(threads=3)
found = [threads(), tensorflow().config.threading.get_intra_op_parallelism_threads(),
         tensorflow().get_logger().isEnabledFor(logging.WARNING)]
configure_tensorflow(threads=3)
try:
    configure_tensorflow(threads=2)
except PlanError as error:
    print(json.dumps([*found, str(error)]))
"""
    *found, refused = run(program)[0]
    assert found == [1, 3, False]
    assert refused.startswith("`threads` 2: TensorFlow has begun to run in this process: ")


def test_nothing_of_tensorflows_start_reaches_the_terminal(tmp_path: Path) -> None:
    program = "from ckpttool.cli import main; main(prog_name='ckpttool')"
    layers = "conv2d(2, 3, relu); flatten(); outputs = dense(3)"
    made = run(program, "new", "--input", "8,8,1", "--layers", layers, "-o", tmp_path / "images.ckpt", "--json")
    assert [row["layer"] for row in made[0]][:2] == ["conv2d", "conv2d"]
    assert "oneDNN" not in made[1]
    assert "absl" not in made[1]


@pytest.mark.parametrize("backend", ["torch", "jax", "no backend"])
def test_whoever_owns_the_process_has_keras_on_tensorflow(backend: str) -> None:
    program = """
from ckpttool.runtime.configure import configure_tensorflow
configure_tensorflow()
print(json.dumps(os.environ["KERAS_BACKEND"]))
"""
    assert run(program, KERAS_BACKEND=backend)[0] == "tensorflow"


class OnAnother:
    """A program's imported `keras` that computes with PyTorch or JAX."""

    __version__ = "3.15.0"
    StatelessScope = object

    def __init__(self, backend: str) -> None:
        self.config = SimpleNamespace(backend=lambda: backend)


@pytest.mark.parametrize(
    ("found", "error", "message"),
    [
        (None, MissingDependency, r"Keras's models need Keras 3 \(.*\): pip install 'keras>=3'"),
        (SimpleNamespace(__version__="2.15.0"), MissingDependency, r"found 2\.15\.0: pip install 'keras>=3'"),
        (OnAnother("torch"), PlanError, r"imported Keras on torch, .* set KERAS_BACKEND=tensorflow before Keras"),
        (OnAnother("jax"), PlanError, r"imported Keras on jax, .* set KERAS_BACKEND=tensorflow before Keras"),
    ],
)
def test_a_keras_that_does_not_do_is_told_with_what_to_do(
    found: Any, error: type[CkptError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = archive_of(tmp_path / "net.keras")
    monkeypatch.setitem(sys.modules, "keras", found)
    given = os.environ.get("KERAS_BACKEND")
    with pytest.raises(error, match=message):
        Model.open(network)
    assert list(checkpoint.open(network)) == ["fc/kernel", "fc/bias"], "its weights can be looked at all the same"
    assert os.environ.get("KERAS_BACKEND") == given


def archive_of(path: Path) -> Path:
    """Write a small network with the installed Keras."""
    keras = keras_on_tensorflow()
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")]).save(path)
    return path
