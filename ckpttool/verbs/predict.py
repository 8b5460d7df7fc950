"""Prediction: what a model says of each row, written to a file while it is computed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.errors import GraphError
from ckpttool.core.tensors import Array
from ckpttool.data.dataset import Split, evaluation_split
from ckpttool.data.files import Wanted
from ckpttool.graph.contents.convolutions import convolves
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.roles.results import Result, result_of
from ckpttool.graph.roles.roles import Roles, find_roles
from ckpttool.model.model import Model
from ckpttool.runtime.configure import suit_tensorflow
from ckpttool.runtime.streaming import Stream
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.feeds import feeds, inference, input_specs
from ckpttool.verbs.answers.files import Shapes, check_output, write_predictions
from ckpttool.verbs.answers.outputs import MEANINGS, Meaning, meaning


@dataclass(frozen=True)
class Prediction:
    """What was written: of how many rows, from which tensor and why from that, and the shape of each array by name."""

    output: Path
    rows: int
    tensor: str
    why: str
    arrays: Shapes

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "output": str(self.output)}


@accepts_watch
def predict(
    model: Model,
    data: str | Path,
    output: str | Path,
    split: str | None = None,
    valid: int | None = None,
    tensor: str | None = None,
    roles: Mapping[str, str] | None = None,
    callbacks: Callbacks = (),
    features: str | None = None,
    overwrite: bool = False,
) -> Prediction:
    """Write what a model says of rows, which need no labels, to an `.npz` or a `.csv`.

    Of classes it is the likeliest and the probabilities, of labels those that hold and their probabilities, else the
    outputs as they are; `rows` numbers them. Which rows: as `evaluate`. Without a loss that says what the outputs are,
    they are what the signature gives, or the tensor that no other op reads; `tensor` says another.

    Raises:
        GraphError: it is not known what to feed or what to predict, or that has no row for each row.
        DataError: the rows do not fit the graph.
        ExistingOutput: the output is there already.
    """
    path, graph = Path(output), model.graph
    check_output(path, overwrite)
    suit_tensorflow(convolves(graph))
    known = find_roles(graph, needed=(), **(roles or {}))
    result = _result(graph, known, tensor)
    said = {"inputs": result.inputs, **(roles or {}), "logits": result.tensor}
    found = find_roles(graph, needed=("training",), **said)
    _require_fed(graph, result.tensor, found.inputs)
    beside = (known.labels,) if known.labels else ()
    rows = evaluation_split(data, Wanted(tuple(input_specs(graph, found)), None, features, beside), split, valid)
    CallbackList(callbacks).on_data([rows])
    stream = inference(graph, found, model.checkpoint, [result.tensor], feeds(found, rows))
    says = meaning(graph, known, result.tensor) or MEANINGS["difference"]
    shapes = write_predictions(path, _said(stream, says, feeds(found, rows), rows), overwrite)
    return Prediction(path, rows.rows, result.tensor, result.why, shapes)


def _result(graph: Graph, roles: Roles, tensor: str | None) -> Result:
    """Return what is asked for, else the logits, else what the graph is run for."""
    if tensor is not None:
        graph.op(TensorRef.parse(tensor).op)
        return Result(str(TensorRef.parse(tensor)), "as was said")
    if roles.logits is not None:
        return Result(roles.logits, "the logits")
    return result_of(graph)


def _require_fed(graph: Graph, tensor: str, inputs: Sequence[str]) -> None:
    """Check that a tensor says something of what is fed."""
    below = graph.ancestors(TensorRef.parse(tensor).op)
    if inputs and not any(TensorRef.parse(name).op in below for name in inputs):
        raise GraphError(
            f"{graph.source}: {tensor} depends on none of the inputs {', '.join(inputs)}; say --tensor NAME"
        )


def _said(stream: Stream, says: Meaning, arrays: Mapping[str, Any], rows: Split) -> Iterator[dict[str, Array]]:
    """Yield what is said of some rows at a time, with their numbers in the file."""
    first = next(iter(rows.stored.values())).first_row
    for part, (outputs,) in stream.over(arrays, rows.rows):
        numbers = np.arange(first + part.start, first + part.stop)
        yield {"rows": numbers, **says.columns(_numbers(stream, outputs, len(numbers)))}


def _numbers(stream: Stream, outputs: Array, rows: int) -> Array:
    """Return outputs as numbers that NumPy's files hold.

    Raises:
        GraphError: they are none, or not as many as there are rows.
    """
    where = f"{stream.function.source}: {stream.function.wanted[0]} is"
    if outputs.shape[:1] != (rows,):
        raise GraphError(f"{where} {list(outputs.shape)} for {rows} rows, expected a row for each; say --tensor NAME")
    if outputs.dtype.kind in "OSU":
        raise GraphError(f"{where} text, expected numbers; say --tensor NAME")
    if outputs.dtype.kind in "iuc" or outputs.dtype in (np.float32, np.float64):
        return outputs
    return outputs.astype(np.uint8 if outputs.dtype.kind == "b" else np.float32)
