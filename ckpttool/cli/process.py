"""Running in this process: the configuration of TensorFlow, the handling of signals, and what training reports to."""

import signal
import threading
from collections.abc import Collection
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict

from ckpttool.runtime.configure import configure_tensorflow
from ckpttool.training.interrupt import Interrupt

if TYPE_CHECKING:
    from ckpttool.cli.show.progress import ProgressPrinter
    from ckpttool.graph.core import Graph
    from ckpttool.lineage.provenance import Command
    from ckpttool.model.model import Model
    from ckpttool.training.callbacks.recording import Recording

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def configure_for(graph: "Graph", threads: int | None = None) -> None:
    """Configure TensorFlow for a graph before it is imported; `threads` per op, chosen by TensorFlow if None.

    Raises:
        PlanError: TensorFlow is already running with another number of threads.
    """
    from ckpttool.graph.contents.layers import convolves

    configure_tensorflow(convolves(graph), threads)


def configure_for_layers(layers: str | None, threads: int | None = None, model: "Model | None" = None) -> None:
    """Configure TensorFlow for a network that will be built from the layers of a SPEC, on top of a model."""
    from ckpttool.graph.contents.layers import convolves
    from ckpttool.runtime.layers import Conv2D
    from ckpttool.runtime.spec import parse

    new = any(isinstance(spec.layer, Conv2D) for spec in parse(layers)) if layers else False
    configure_tensorflow(new or (model is not None and convolves(model.graph)), threads)


def open_to_run(
    path: str | Path, allow_op: Collection[str] = (), threads: int | None = None, ema: bool = False
) -> "Model":
    """Open a model as `Model.open` does, and configure TensorFlow to run its graph in this process."""
    from ckpttool.model.model import Model

    model = Model.open(path, allow_op, ema)
    configure_for(model.graph, threads)
    return model


class SignalInterrupt(Interrupt):
    """Handles SIGINT and SIGTERM during training: the first requests a clean stop, the second acts as usual.

    Outside the main thread, where Python handles no signals, it does nothing.
    """

    def __init__(self) -> None:
        """Create it without installing handlers."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._note) for each in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Restore the previous handlers."""
        self._release()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.request(number)
        self._release()

    def _release(self) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)
        self._before = {}


class Running(TypedDict):
    """The arguments of training verbs that are the same for every command."""

    callbacks: "ProgressPrinter"
    resume: bool
    recording: "Recording"
    command: "Command | None"
    interrupt: SignalInterrupt


def running_here(as_json: bool, resume: bool, recording: "Recording") -> Running:
    """Return what a training verb reports to and records, whether it resumes, and what interrupts it."""
    from ckpttool.cli.show.plans import command_line
    from ckpttool.cli.show.progress import ProgressPrinter

    told, interrupt = ProgressPrinter(as_json), SignalInterrupt()
    return Running(callbacks=told, resume=resume, recording=recording, command=command_line(), interrupt=interrupt)
