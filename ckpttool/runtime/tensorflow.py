"""Where TensorFlow is imported: on use, without its chatter, with a clear word when it is not installed."""

import os
import warnings
from typing import Any

from ckpttool.errors import MissingDependency


def tensorflow() -> Any:
    """Return the `tensorflow` module, imported quietly; the first call takes about three seconds.

    Raises:
        MissingDependency: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its fused kernels sum in an order that differs between runs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow
    except ImportError as error:
        raise MissingDependency(
            f"running a graph needs TensorFlow ({error}): pip install 'ckpttool[tensorflow]', or 'ckpttool[cpu]'"
        ) from error
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow
