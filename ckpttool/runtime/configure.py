"""Where TensorFlow is imported: on use, without its chatter, with a clear word when it is not installed."""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from ckpttool.core.errors import CkptError, GraphError, MissingDependency, PlanError

_NOISE = re.compile(
    r"Graph execution error|Detected at node|Node:|Hint:|Original stack|<stack|\[\[|\s*$|\d+ root error|  |\(\d+\)"
)
"""Lines of TensorFlow's messages that say where in its machinery something went wrong, not what."""


def tensorflow() -> Any:
    """Return the `tensorflow` module, imported quietly; the first call takes about three seconds.

    Where nobody imported it before, its ops are started by one thread: most ops of a step wait for one another, and
    small ones cost less than passing them between threads (a cached epoch takes three quarters of the time). An op
    still computes on all cores.

    Raises:
        MissingDependency: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # see `configure_tensorflow`
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = "tensorflow" not in sys.modules
            import tensorflow
    except ImportError as error:
        raise MissingDependency(
            f"running a graph needs TensorFlow ({error}): pip install 'ckpttool[tensorflow]', or 'ckpttool[cpu]'"
        ) from error
    if ours:
        tensorflow.get_logger().setLevel("ERROR")
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    return tensorflow


def configure_tensorflow(convolutions: bool = False, threads: int | None = None) -> None:
    """Configure TensorFlow, where nobody imported it yet, with convolutions in mind or not; limit its threads.

    oneDNN's kernels take a fifth of the time for convolutions, and ops that run beside one another half of the rest;
    small dense layers lose by both. With one thread an op computes on one core, and oneDNN, whose sums depend on the
    order in which its pieces are done, stays off: a run repeats to the last bit.

    Raises:
        PlanError: TensorFlow runs already, with another number of threads.
    """
    if threads != 1 and "tensorflow" not in sys.modules and convolutions:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        tensorflow().config.threading.set_inter_op_parallelism_threads(0)  # as many as there are cores
    if threads is not None:
        _limit_threads(threads)


def _limit_threads(count: int) -> None:
    threading = tensorflow().config.threading
    if threading.get_intra_op_parallelism_threads() == count:
        return
    try:
        threading.set_intra_op_parallelism_threads(count)
    except RuntimeError as error:
        raise PlanError(f"`threads` {count}: TensorFlow has begun to run in this process: {error}") from error


def require_threads(count: int | None) -> None:
    """Check that an op computes with as many threads as asked for; whoever owns the process has configured them.

    Raises:
        PlanError: it does not.
    """
    if count is not None and tensorflow().config.threading.get_intra_op_parallelism_threads() != count:
        raise PlanError(f"`threads` {count}: call `configure_tensorflow(threads={count})` before TensorFlow runs")


@contextlib.contextmanager
def running(source: str) -> Iterator[None]:
    """Turn what TensorFlow says against a graph, while it is built, imported or run, into one line that names it.

    Raises:
        GraphError: TensorFlow refused the graph or what it was fed.
    """
    try:
        yield
    except CkptError:
        raise
    except (tensorflow().errors.OpError, KeyError, ValueError) as error:
        raise GraphError(f"{source}: TensorFlow refuses it: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return the line of a message that says what is wrong, with the graph's own names of its ops."""
    text = str(error.args[0]) if isinstance(error, KeyError) else getattr(error, "message", None) or str(error)
    lines = [line for line in text.splitlines() if not _NOISE.match(line)]
    return re.sub(r"\bmodel/| \[Op:\w+\]", "", lines[0].strip()) if lines else type(error).__name__
