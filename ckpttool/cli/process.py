"""What the command line owns of its process: how TensorFlow is configured, and what a signal does to a run."""

import signal
import threading
from collections.abc import Collection
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

from ckpttool.runtime.configure import configure_tensorflow
from ckpttool.training.interrupt import Interrupt

if TYPE_CHECKING:
    from ckpttool.graph.core import Graph
    from ckpttool.model.model import Model

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def configure_for(graph: "Graph", threads: int | None = None) -> None:
    """Configure TensorFlow for a graph before it is imported; without `threads` it chooses how many ops compute on.

    Raises:
        PlanError: TensorFlow runs already, with another number of threads.
    """
    from ckpttool.graph.contents.layers import convolves

    configure_tensorflow(convolves(graph), threads)


def configure_for_layers(layers: str | None, threads: int | None = None, model: "Model | None" = None) -> None:
    """Configure TensorFlow for a network that will be built of the layers of a SPEC, on those of a model."""
    from ckpttool.graph.contents.layers import convolves
    from ckpttool.runtime.layers import Conv2D
    from ckpttool.runtime.spec import parse

    new = any(isinstance(spec.layer, Conv2D) for spec in parse(layers)) if layers else False
    configure_tensorflow(new or (model is not None and convolves(model.graph)), threads)


def open_to_run(
    path: str | Path, allow_op: Collection[str] = (), threads: int | None = None, ema: bool = False
) -> "Model":
    """Open a model whose graph will run in this process, which is configured for it; the rest is as in `Model.open`."""
    from ckpttool.model.model import Model

    model = Model.open(path, allow_op, ema)
    configure_for(model.graph, threads)
    return model


class SignalInterrupt(Interrupt):
    """Takes Ctrl-C and SIGTERM over while a run trains: the first ends it in good order, a second one as usual.

    Outside of the main thread, where Python takes no signals, it takes none over.
    """

    def __init__(self) -> None:
        """Take nothing over yet."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._note) for each in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the signals back."""
        self._release()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.request(number)
        self._release()

    def _release(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}
