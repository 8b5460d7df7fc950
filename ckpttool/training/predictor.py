"""Prediction: a model's outputs for rows of a data set and their meaning, in this process or in a worker."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ckpttool.core.counts import counted
from ckpttool.core.errors import GraphError
from ckpttool.core.tensors import Array
from ckpttool.data.class_files import check_count
from ckpttool.data.files import InMemory
from ckpttool.data.rows import Rows
from ckpttool.data.splits import Split
from ckpttool.graph.contents.class_names import class_names
from ckpttool.graph.contents.named import tensor_named
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.feeding import feeding
from ckpttool.graph.rewrite.whole_rows import with_whole_rows
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.graph.roles.served import SIGNATURE, Result, called, result_of
from ckpttool.model.model import Model
from ckpttool.runtime.function import computed_part
from ckpttool.runtime.streaming import Stream
from ckpttool.training.bound import Bound
from ckpttool.training.evaluation_rows import Which
from ckpttool.training.outputs import MEANINGS, Meaning, meaning
from ckpttool.training.worker_model import WorkerModel, part_facts

Columns = Mapping[str, Array]
"""Arrays of the same rows by column name."""


@dataclass(frozen=True)
class PredictionRequest:
    """A request: what to predict, for which rows; it can be sent to any process."""

    data: str | InMemory
    which: Which
    tensor: str | None
    roles: tuple[tuple[str, Any], ...]
    features: str | None
    classes: tuple[str, ...]
    preprocess: str | None

    def of(self, model: Model) -> "Predictor":
        """Find the outputs of a model, and open the rows.

        Raises:
            CkptError: as for `predict`.
        """
        roles = dict(self.roles)
        graph, asked = called(model.graph, roles)
        fed = feeding(graph, asked.get("inputs", ()), asked.get("labels"), [self.tensor] if self.tensor else ())
        known = find_roles(fed.graph, needed=(), **fed.roles(asked))
        result = _result(fed.graph, None if roles.get(SIGNATURE) else known.logits, self.tensor)
        graph = with_whole_rows(fed.graph, [result.tensor])
        given = {"inputs": result.inputs, **fed.roles(asked), "logits": result.tensor}
        of_result = find_roles(graph, needed=("training",), **given)
        _require_inputs(graph, result, of_result.inputs)
        found = replace(known, inputs=of_result.inputs, training=of_result.training)
        bound = Bound(replace(model, graph=graph), found).preprocessing(self.preprocess)
        bound = bound.with_evaluation_rows(self.data, self.which, self.features, labels=False)
        names = self.classes or class_names(graph)
        means = meaning(graph, known, result.tensor) or MEANINGS["hits" if names else "difference"]
        return Predictor(bound, result, means, names, bool(self.classes), fed.notes)


@dataclass(frozen=True, eq=False)
class Predictor:
    """A model bound to the rows to predict, and the meaning of its outputs."""

    bound: Bound
    result: Result
    means: Meaning
    names: tuple[str, ...]
    named: bool
    """Whether the class names were specified, rather than the model's own."""
    fed_notes: Sequence[str]

    @cached_property
    def rows(self) -> Split:
        """The rows."""
        return self.bound.splits[0]

    @cached_property
    def arrays(self) -> dict[str, Rows]:
        """The fed arrays by tensor name."""
        return self.bound.feeds(self.rows)

    @cached_property
    def files(self) -> Array:
        """The file names of the rows, if each row is a file."""
        return np.array(self.rows.file_names)

    @cached_property
    def stream(self) -> Stream:
        """The function that computes the outputs."""
        return self.bound.inference([self.result.tensor], self.arrays)

    @property
    def notes(self) -> list[str]:
        """Notes for the user."""
        inference = self.bound.in_inference([self.result.tensor], self.arrays)
        return [*self.fed_notes, *self.bound.notes, *inference.notes]

    def facts(self) -> dict[str, str]:
        """Return what the predictions depend on; of the rows their number and kind."""
        model, weights = self.bound.model, [variable.name for variable in self.stream.function.variables]
        part = computed_part(model.graph, [self.result.tensor], [*self.arrays])
        rows = " ".join(f"{name}={array.dtype}{list(array.shape)}" for name, array in self.arrays.items())
        return {**part_facts(part, [self.result.tensor], model.checkpoint, weights), "rows": rows}

    def columns(self, part: slice) -> Columns:
        """Return the predictions for some of the rows by column."""
        (outputs,) = self.stream.of(self.arrays, part)
        numbers = self.rows.numbers[part]
        own = {"files": self.files[part]} if len(self.files) else {}
        found = self.means.columns(_numbers(self.stream, outputs, len(numbers)))
        if self.named:
            check_count(self.names, outputs.shape[-1] if outputs.ndim > 1 else 1, self.bound.model.path)
        return {"rows": numbers, **own, **_with_names(found, self.names)}


@dataclass(frozen=True)
class PredictorFactory:
    """Makes the function of a worker, which predicts some of the rows."""

    model: WorkerModel
    asked: PredictionRequest

    def __call__(self) -> Callable[[slice], Columns]:
        """Open the model and the rows.

        Raises:
            GraphError: they differ from those of the requesting process.
        """
        predictor = self.asked.of(self.model.open())
        self.model.check(predictor.facts())
        return predictor.columns


def _require_inputs(graph: Graph, result: Result, inputs: Sequence[str]) -> None:
    """Check that the output depends on an input.

    Raises:
        GraphError: it does not.
    """
    below = graph.ancestors(TensorRef.parse(result.tensor).op)
    if inputs and not any(TensorRef.parse(name).op in below for name in inputs):
        depends = f"{result.tensor} depends on none of the inputs {', '.join(inputs)}"
        raise GraphError(f"{graph.source}: {depends}; specify `tensor`")


def _with_names(columns: Columns, classes: Sequence[str]) -> Columns:
    """Add a column of class names beside the class indices, if each output has a name.

    >>> columns = {"classes": np.array([1, 0]), "probabilities": np.array([[0.2, 0.8], [0.9, 0.1]])}
    >>> _with_names(columns, ["cat", "dog"])["names"].tolist()
    ['dog', 'cat']
    """
    if "labels" in columns and columns["labels"].shape[1:] == (1,) and len(classes) == 2:
        named = {"names": np.array(classes)[columns["labels"][:, 0].astype(int)]}
        return {"labels": columns["labels"], **named, **columns}
    outputs = next((array for name, array in columns.items() if name not in ("classes", "labels")), None)
    if "classes" not in columns or outputs is None or outputs.shape[-1] != len(classes):
        return columns
    rest = {name: array for name, array in columns.items() if name != "classes"}
    return {"classes": columns["classes"], "names": np.array(classes)[columns["classes"]], **rest}


def _result(graph: Graph, logits: str | None, tensor: str | None) -> Result:
    """Return the requested tensor, else the logits, else the graph's output."""
    if tensor is not None:
        return Result(str(tensor_named(graph, tensor, f"`tensor` {tensor}")), "as asked for")
    if logits is not None:
        return Result(logits, "the logits")
    return result_of(graph)


def _numbers(stream: Stream, outputs: Array, rows: int) -> Array:
    """Return outputs as numbers that NumPy can store.

    Raises:
        GraphError: they are not numbers, or their first dimension is not the number of rows.
    """
    where = f"{stream.function.source}: {stream.function.wanted[0]} is"
    if outputs.shape[:1] != (rows,):
        given = f"{list(outputs.shape)} for {counted(rows, 'row')}"
        raise GraphError(f"{where} {given}, expected a row for each; specify `tensor`")
    if outputs.dtype.kind in "OSU":
        raise GraphError(f"{where} text, expected numbers; specify `tensor`")
    if outputs.dtype.kind in "iuc" or outputs.dtype in (np.float32, np.float64):
        return outputs
    return outputs.astype(np.uint8 if outputs.dtype.kind == "b" else np.float32)
