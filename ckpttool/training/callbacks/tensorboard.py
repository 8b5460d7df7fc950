"""TensorBoard: the metrics of each epoch, histograms of the trained weights, and the graph, as event files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ckpttool.core.errors import CkptError, ExistingOutput
from ckpttool.core.tensors import Array
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.model.plan import PlanRow
from ckpttool.runtime.events import EventWriter, event_files, read_events
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.run import Epoch

SCALARS = ("loss", "valid_loss", "valid_accuracy", "learning_rate")


class TensorBoard(Callback):
    """Writes events at the last step of each epoch; steps that are in the folder are not written again."""

    def __init__(self, folder: Path, overwrite: bool, resume: bool) -> None:
        """Check that the folder can be written; each run has a folder of its own.

        Raises:
            ExistingOutput: it contains the events of another run.
            CkptError: it is a file.
        """
        self._folder, self._resume = folder, resume
        if folder.exists() and not folder.is_dir():
            raise CkptError(f"{folder} is a file, expected a folder for event files")
        if event_files(folder) and not (overwrite or resume):
            raise ExistingOutput(f"{folder} has the events of a run: name another folder, or `overwrite` them")
        self._writer: EventWriter | None = None

    def on_plan(self, plan: Sequence[PlanRow], notes: Sequence[str]) -> None:
        """Set the weights with histograms: those trained from here on."""
        self._trained = [row.target for row in plan if row.train]

    def on_graph(self, graph: Graph) -> None:
        """Set the graph; the graphs of later stages differ in the training op only."""
        self._graph = graph

    def on_run_begin(self, history: Sequence[Epoch]) -> None:
        """Start a file with the graph, and with earlier epochs that are not in the folder."""
        if not self._resume:
            for path in event_files(self._folder):
                path.unlink()
        before = list(read_events(self._folder))
        self._step = max((event.step for event in before), default=0)
        self._writer = EventWriter(self._folder)
        if not any(event.graph_def for event in before):
            self._writer.graph(self._graph)
        for epoch in history:
            self._record(epoch, {})

    def on_weights(self, epoch: Epoch, read: Callable[[], Mapping[str, Array]]) -> None:
        """Write the metrics and histograms of an epoch."""
        values, stored = read(), stored_tensors(self._graph)
        ran = [stored[name] for name in self._trained if all(part.op in values for part in stored[name].members)]
        self._record(epoch, {tensor.name: tensor.joined(values) for tensor in ran})

    def _record(self, epoch: Epoch, arrays: Mapping[str, Array]) -> None:
        if self._writer is not None and epoch.step > self._step:
            figures = asdict(epoch)
            scalars = {name: figures[name] for name in SCALARS if figures[name] is not None}
            self._writer.summary(epoch.step, scalars, arrays)

    def on_run_end(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
