"""Prediction: what a model's outputs mean for each row, written to a file while they are computed.

An `.npz` has an array for each thing predicted. A `.csv` has a header and a line for each row: its number, what was
predicted, and a column for each probability.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, GraphError, PlanError
from ckpttool.core.tensors import PIECE, Array
from ckpttool.data.class_files import Classes, check_count, class_names_of
from ckpttool.formats.wire.crc import extend
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.graph.contents.class_names import class_names
from ckpttool.graph.contents.named import tensor_named
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.feeding import feeding
from ckpttool.graph.rewrite.whole_rows import with_whole_rows
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.graph.roles.served import SIGNATURE, Result, called, result_of
from ckpttool.model.model import Model
from ckpttool.runtime.streaming import Stream
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.evaluation_rows import Which
from ckpttool.training.outputs import MEANINGS, meaning

Columns = Mapping[str, Array]
"""Arrays of the same rows by what they hold."""
Shapes = dict[str, tuple[int, ...]]

HEADINGS = {
    **{"rows": "row", "files": "file", "classes": "class", "names": "name", "labels": "label"},
    **{"probabilities": "probability", "outputs": "output"},
}
"""The columns of a `.csv` by the array that they hold; it leaves out logits, which its probabilities stand for."""


@dataclass(frozen=True)
class Prediction:
    """What was written: of how many rows, from which tensor and why from that, and the shape of each array by name."""

    output: Path
    rows: int
    tensor: str
    why: str
    arrays: Shapes
    classes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "output": str(self.output), "classes": list(self.classes)}


@accepts_watch
def predict(
    model: Model,
    data: str | Path,
    output: str | Path,
    split: str | None = None,
    valid: int | str | None = None,
    tensor: str | None = None,
    roles: Mapping[str, Any] | None = None,
    callbacks: Callbacks = (),
    features: str | None = None,
    overwrite: bool = False,
    group: str | None = None,
    seed: int | None = None,
    classes: Classes = None,
    preprocess: str | None = None,
) -> Prediction:
    """Write what a model predicts for rows, which need no labels, to an `.npz` or a `.csv`.

    Of classes it is the likeliest and the probabilities, of labels those that hold and their probabilities, else the
    outputs as they are; `rows` numbers them. Without a loss that tells what the outputs are,
    they are what the signature gives, or the tensor that no other op reads. Where no split is named, these are the test
    rows, else the file's validation rows, else all.

    Args:
        model: The model, which is not changed.
        data: A path, or one of the other sources of rows.
        output: A file that ends in `.npz` or `.csv`.
        split: "train", "valid" or "test".
        valid: Which of the training rows were held out: 60, 20%, first:5000; what the model's run says if not given.
        group: The column of rows that were held out together.
        seed: The random seed of that draw.
        tensor: What to predict with instead.
        roles: Names of tensors by role, where they are not found in the graph.
        callbacks: One callback or several; they are passed the rows and what was done to them.
        features: What records hold, where they do not tell.
        classes: Names of the model's classes, or the file that has them; those that it has if not given.
        preprocess: What is done to rows first (`scale(1/127.5, -1)`), if not what the model keeps.
        overwrite: Whether an output that exists is replaced.

    Raises:
        GraphError: it is not known what to feed or what to predict, or that has no row for each row.
        DataError: the rows do not fit the graph, or there are not as many classes as outputs.
        ExistingOutput: the output is there already.
    """
    path = Path(output)
    check_output(path, overwrite)
    graph, asked = called(model.graph, roles or {})
    fed = feeding(graph, asked.get("inputs", ()), asked.get("labels"), [tensor] if tensor else ())
    known = find_roles(fed.graph, needed=(), **fed.roles(asked))
    result = _result(fed.graph, None if roles and roles.get(SIGNATURE) else known.logits, tensor)
    graph = with_whole_rows(fed.graph, [result.tensor])
    model = replace(model, graph=graph)
    given = {"inputs": result.inputs, **fed.roles(asked), "logits": result.tensor}
    of_result = find_roles(graph, needed=("training",), **given)
    below = graph.ancestors(TensorRef.parse(result.tensor).op)
    if of_result.inputs and not any(TensorRef.parse(name).op in below for name in of_result.inputs):
        inputs = ", ".join(of_result.inputs)
        raise GraphError(f"{graph.source}: {result.tensor} depends on none of the inputs {inputs}; specify `tensor`")
    bound = Bound(model, replace(known, inputs=of_result.inputs, training=of_result.training)).preprocessing(preprocess)
    which = Which(split, valid, group, seed, judge=False)
    bound = bound.with_evaluation_rows(data, which, features, labels=False)
    rows = bound.splits[0]
    callback = CallbackList(callbacks)
    arrays = bound.feeds(rows)
    callback.on_notes([*fed.notes, *bound.notes, *bound.in_inference([result.tensor], arrays).notes])
    callback.on_data([rows])
    stream = bound.inference([result.tensor], arrays)
    names, files = class_names_of(classes) or class_names(graph), np.array(rows.file_names)
    means = meaning(graph, known, result.tensor) or MEANINGS["hits" if names else "difference"]

    def predictions() -> Iterator[Columns]:
        for part, (outputs,) in stream.over(arrays, rows.rows):
            numbers = rows.numbers[part]
            own = {"files": files[part]} if len(files) else {}
            found = means.columns(_numbers(stream, outputs, len(numbers)))
            if classes is not None:
                check_count(names, outputs.shape[-1] if outputs.ndim > 1 else 1, model.path)
            yield {"rows": numbers, **own, **_with_names(found, names)}

    shapes = write_predictions(path, predictions(), overwrite, names)
    return Prediction(path, rows.rows, result.tensor, result.why, shapes, names)


def _with_names(columns: Columns, classes: Sequence[str]) -> Columns:
    """Put the names of the classes beside their numbers, where there is a name for each output.

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
    """Return what is asked for, else the logits, else what the graph is run for."""
    if tensor is not None:
        return Result(str(tensor_named(graph, tensor, f"`tensor` {tensor}")), "as asked for")
    if logits is not None:
        return Result(logits, "the logits")
    return result_of(graph)


def _numbers(stream: Stream, outputs: Array, rows: int) -> Array:
    """Return outputs as numbers that NumPy's files hold.

    Raises:
        GraphError: they are none, or not as many as there are rows.
    """
    where = f"{stream.function.source}: {stream.function.wanted[0]} is"
    if outputs.shape[:1] != (rows,):
        raise GraphError(f"{where} {list(outputs.shape)} for {rows} rows, expected a row for each; specify `tensor`")
    if outputs.dtype.kind in "OSU":
        raise GraphError(f"{where} text, expected numbers; specify `tensor`")
    if outputs.dtype.kind in "iuc" or outputs.dtype in (np.float32, np.float64):
        return outputs
    return outputs.astype(np.uint8 if outputs.dtype.kind == "b" else np.float32)


def check_output(path: Path, overwrite: bool) -> None:
    """Check that predictions can be written to a file.

    Raises:
        PlanError: it is named neither `.npz` nor `.csv`.
        ExistingOutput: it is there already.
    """
    if path.suffix not in _WRITERS:
        raise PlanError(f"{path}: expected a name that ends in {' or '.join(_WRITERS)}")
    refuse_existing([path], overwrite)


def write_predictions(path: Path, parts: Iterable[Columns], overwrite: bool, classes: Sequence[str] = ()) -> Shapes:
    """Write the rows of all parts in their order, and read back what was written; return the shape of each array.

    The columns of a `.csv` that are for a class each bear its name.

    Raises:
        PlanError: a `.csv` cannot hold the rows.
        CorruptCheckpoint: what was read back differs.
    """
    check_output(path, overwrite)
    return _WRITERS[path.suffix](path, parts, overwrite, classes)


class _Scratch:
    """Rows on disk in a file without a name, which is gone when this process is: a zip takes its arrays one by one."""

    def __init__(self, file: IO[bytes], rows: Array) -> None:
        self._file, self._row, self._dtype, self._count = file, rows.shape[1:], rows.dtype, 0

    def append(self, rows: Array) -> None:
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._count += len(rows)

    def array(self) -> Array:
        self._file.flush()
        return np.memmap(self._file, self._dtype, "r", shape=(self._count, *self._row))


def _write_npz(path: Path, parts: Iterable[Columns], overwrite: bool, _classes: Sequence[str]) -> Shapes:
    scratch: dict[str, _Scratch] = {}
    with ExitStack() as files:
        for part in parts:
            for name, rows in part.items():
                if name not in scratch:
                    scratch[name] = _Scratch(files.enter_context(TemporaryFile(dir=path.parent)), rows)
                scratch[name].append(rows)
        arrays = {name: each.array() for name, each in scratch.items()}
        checkpoint.save(arrays, path, format="npz", overwrite=overwrite)
    return {name: array.shape for name, array in arrays.items()}


def _write_csv(path: Path, parts: Iterable[Columns], overwrite: bool, classes: Sequence[str]) -> Shapes:
    shapes: Shapes = {}
    crc = 0

    def check(written: Path) -> None:
        if _crc_of(written) != crc:
            raise CorruptCheckpoint(f"{path}: what was read back is not what was written")

    with replacing(path, check) as file:
        for part in parts:
            columns = {name: rows for name, rows in part.items() if name in HEADINGS}
            text = _lines(path, columns, classes, heading=not shapes)
            crc = extend(crc, text)
            file.write(text)
            shapes = {name: (shapes.get(name, (0,))[0] + len(rows), *rows.shape[1:]) for name, rows in columns.items()}
    return shapes


def _lines(path: Path, columns: Columns, classes: Sequence[str], heading: bool) -> bytes:
    """Return the text of some rows."""
    fields: dict[str, Any] = {}
    for name, rows in columns.items():
        if rows.ndim > 2:
            raise PlanError(
                f"{path}: {name} of {list(rows.shape[1:])} for a row do not fit into a .csv, an .npz has them"
            )
        each = [rows] if rows.ndim == 1 else list(rows.T)
        places = classes if len(classes) == len(each) else range(len(each))
        names = [HEADINGS[name]] if rows.ndim == 1 else [f"{HEADINGS[name]}_{place}" for place in places]
        fields |= dict(zip(names, (values.astype(str) for values in each), strict=True))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([list(fields)] if heading else [])
    writer.writerows(zip(*fields.values(), strict=True))
    return text.getvalue().encode()


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            crc = extend(crc, piece)
    return crc


_WRITERS = {".npz": _write_npz, ".csv": _write_csv}
