"""TensorFlow: imported on first use, and configured by the owner of the process."""

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import DecodeError

from ckpttool.core.errors import CkptError, GraphError, MissingDependency, PlanError

_NOISE = re.compile(
    r"Graph execution error|Detected at node|Node:|Hint:|Original stack|<stack|\[\[|\s*$|\d+ root error|  |\(\d+\)"
)
"""Lines of TensorFlow's messages about the place of an error, not its reason."""
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_INTEROP = "TF_NUM_INTEROP_THREADS"
_BACKEND, _TENSORFLOW = "KERAS_BACKEND", "tensorflow"
_KERAS_AT_THE_END = "keras.src.optimizers"
_imported: dict[str, Any] = {}
"""The modules that this process has imported and checked: both are requested thousands of times."""
_ours: dict[str, str] = {}
"""The environment variables that `configure_tensorflow` has set; a later call may change these, but not the user's."""

_by_default: set[str] = set()
"""Has something in it where functions have put that there, and no program by calling `configure_tensorflow`."""


def tensorflow() -> Any:
    """Return the `tensorflow` module; the first call imports it, which takes about three seconds.

    Raises:
        MissingDependency: it is not installed.
    """
    if _is_imported("tensorflow"):
        return _imported["tensorflow"]
    quiet = "tensorflow" not in sys.modules and os.environ.get(_LEVEL, "0") != "0" and os.environ.get(_ONEDNN) != "0"
    try:
        with _stderr_discarded() if quiet else contextlib.nullcontext(), _without_keras(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow
    except ImportError as error:
        raise MissingDependency(
            f"running a graph needs TensorFlow ({error}): pip install 'ckpttool[tensorflow]', or 'ckpttool[cpu]'"
        ) from error
    tensorflow.get_logger()  # in a notebook, its first use turns on logging
    log_as_configured()
    _imported["tensorflow"] = tensorflow
    return tensorflow


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """Prevent the import of TensorFlow from importing Keras, which few graphs need and which takes nearly as long.

    TensorFlow imports Keras's optimizers last, and continues without them. Keras 3 is imported on first
    use, as `keras`, `tf.keras` or `tensorflow.keras`; Keras 2 (TF_USE_LEGACY_KERAS) registers with
    TensorFlow when it is imported, so it is not deferred.
    """
    if "tensorflow" in sys.modules or "keras" in sys.modules:
        yield
        return
    sys.modules[_KERAS_AT_THE_END] = None  # type: ignore[assignment]  # Python's own sign for what cannot be imported
    try:
        yield
    finally:
        if sys.modules.get(_KERAS_AT_THE_END, ...) is None:
            del sys.modules[_KERAS_AT_THE_END]


def keras() -> Any:
    """Return the `keras` module on TensorFlow; the first call imports it.

    Raises:
        MissingDependency: it is not installed, or not in its version 3.
        PlanError: this process has imported it with another backend.
    """
    if _is_imported("keras"):
        return _imported["keras"]
    tensorflow()
    given = os.environ.get(_BACKEND)
    if "keras" not in sys.modules:
        os.environ[_BACKEND] = _TENSORFLOW
    try:
        import keras
    except (ImportError, ValueError) as error:
        raise MissingDependency(f"Keras's models need Keras 3 ({error}): pip install 'keras>=3'") from error
    finally:
        if given is None:
            os.environ.pop(_BACKEND, None)
        else:
            os.environ[_BACKEND] = given
    if not hasattr(keras, "StatelessScope"):
        raise MissingDependency(f"Keras's models need Keras 3, found {keras.__version__}: pip install 'keras>=3'")
    if keras.config.backend() != _TENSORFLOW:
        raise PlanError(
            f"this process has imported Keras on {keras.config.backend()}, and a model is run on TensorFlow: set "
            f"{_BACKEND}={_TENSORFLOW} before Keras or TensorFlow is imported"
        )
    _imported["keras"] = keras
    return keras


def _is_imported(name: str) -> bool:
    return name in _imported and sys.modules.get(name) is _imported[name]


def configure_tensorflow(convolutions: bool = False, threads: int | None = None) -> None:
    """Configure TensorFlow for this process; call this before TensorFlow is imported.

    Only errors are logged. Environment variables that are already set are not changed, except Keras's backend:
    models run on TensorFlow, whatever backend other programs use.

    Args:
        convolutions: Whether networks have convolutions. oneDNN's kernels compute these in a fifth of the time, and
            running ops in parallel halves the rest. Otherwise, one thread starts the ops, and oneDNN is
            off: most ops of a step depend on each other, and small ones cost less than passing them between threads
            (a cached epoch takes three quarters of the time). An op computes on all cores either way.
        threads: The number of threads that compute an op. With one, oneDNN is off, since its sums depend on the order
            of their parts: a run is then reproducible bit for bit.

    Raises:
        PlanError: TensorFlow is already running, with another number of threads.
    """
    if "tensorflow" not in sys.modules:
        quick = convolutions and threads != 1
        wanted = {
            _LEVEL: "3",
            _ONEDNN: str(int(quick)),
            _INTEROP: "0" if quick else "1",  # 0: one per core
        }
        for name, value in wanted.items():
            if os.environ.get(name) in (None, _ours.get(name)):
                os.environ[name] = _ours[name] = value
        log_as_configured()
        if "keras" not in sys.modules:
            os.environ[_BACKEND] = _TENSORFLOW
    if threads is not None:
        _limit_threads(threads)


def configure_by_default(convolutions: bool = False, threads: int | None = None) -> None:
    """Configure TensorFlow for a graph, unless the program has imported or configured it.

    Args:
        convolutions: As for `configure_tensorflow`; the last call before the import takes effect.
        threads: Likewise.
    """
    if "tensorflow" in sys.modules or (_ours and not _by_default):
        return
    _by_default.add(_LEVEL)
    configure_tensorflow(convolutions, threads)


def log_as_configured() -> None:
    """Limit the logging of TensorFlow's Python to errors if the environment limits that of its C++ to errors."""
    if os.environ.get(_LEVEL, "0") > "1":
        logging.getLogger("tensorflow").setLevel("ERROR")


def settings() -> tuple[tuple[str, str], ...]:
    """Return the environment variables that configure TensorFlow's computation, for other processes of the same run."""
    return tuple((name, os.environ[name]) for name in (_LEVEL, _ONEDNN, _INTEROP) if name in os.environ)


def _limit_threads(count: int) -> None:
    threading = tensorflow().config.threading
    if threading.get_intra_op_parallelism_threads() == count:
        return
    try:
        threading.set_intra_op_parallelism_threads(count)
    except RuntimeError as error:
        raise PlanError(f"`threads` {count}: TensorFlow has begun to run in this process: {error}") from error


@contextlib.contextmanager
def _stderr_discarded() -> Iterator[None]:
    """Discard the output of C++ on standard error while TensorFlow is imported.

    With oneDNN on, the import prints a message at any log level, because logging is not yet initialised.
    """
    sys.stderr.flush()
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:  # the process has no stderr
        yield
        return
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def require_threads(count: int | None) -> None:
    """Check that ops compute with this number of threads, which the owner of the process has configured.

    Raises:
        PlanError: the number differs.
    """
    if count is not None and tensorflow().config.threading.get_intra_op_parallelism_threads() != count:
        raise PlanError(f"`threads` {count}: call `configure_tensorflow(threads={count})` before TensorFlow runs")


@contextlib.contextmanager
def running(source: str) -> Iterator[None]:
    """Convert an error of TensorFlow while a graph is built, imported or run to one line that names the graph.

    Raises:
        GraphError: TensorFlow refused the graph or its feeds.
    """
    try:
        yield
    except CkptError:
        raise
    except (tensorflow().errors.OpError, DecodeError, KeyError, ValueError) as error:
        raise GraphError(f"{source}: TensorFlow refuses it: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the line of a message that describes the error, with the ops' names in the graph itself."""
    text = str(error.args[0]) if isinstance(error, KeyError) else getattr(error, "message", None) or str(error)
    lines = [line for line in text.splitlines() if not _NOISE.match(line)]
    return re.sub(r"\bmodel/| \[Op:\w+\]", "", lines[0].strip()) if lines else type(error).__name__
