"""Preprocessing as ops of a graph, before its inputs, so that the graph accepts raw rows.

Each step computes the same numbers as in NumPy; images of any size are resized by the ops of `tf.image.resize`.
Values that are errors in NumPy (a class number that is too large for `one_hot`) are not errors here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.core.shapes import PartialShape, shown
from ckpttool.data.fitting import INTEGERS
from ckpttool.data.fitting_shapes import image_size
from ckpttool.data.preprocessing import Steps, made_for, notation
from ckpttool.data.preprocessing_steps import (
    Bgr,
    Grayscale,
    KerasMode,
    Mean,
    Nothing,
    OneHot,
    Resize,
    Rgb,
    Row,
    Scale,
    Standardize,
    Step,
)
from ckpttool.data.preprocessing_steps.images import (
    CHANNELS,
    GREY,
    IMAGENET_BGR,
    IMAGENET_MEAN,
    IMAGENET_STD,
    image_axis,
)
from ckpttool.data.preprocessing_steps.numbers import along
from ckpttool.data.preprocessing_steps.step import channel_axis
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef
from ckpttool.graph.contents.op_outputs import dtype_of_output, known_shape, shape_of_output
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.draft import Draft, free_name
from ckpttool.runtime.configure import tensorflow

SOME_SIZE = 1021
"""A placeholder for an unknown height or width, when only the positions of dimensions matter."""


@dataclass(frozen=True)
class Raw:
    """The raw input before preprocessing: a dtype, and the shape of a row, in which sizes may be unknown (None).

    `like` is an example of this shape, with all sizes known.
    """

    dtype: str
    row: PartialShape
    like: Row


def with_preprocessing_ops(graph: Graph, inputs: Mapping[str, Steps]) -> tuple[Graph, list[str]]:
    """Return a graph whose placeholders, by op name, accept raw rows, and a description of these for the user.

    Raises:
        PlanError: the rows of an input are not images to which its steps apply.
    """
    notes = []
    for name, steps in inputs.items():
        done = tuple(step for step in steps if not isinstance(step, Nothing))
        raw = raw_of(graph, name, done)
        if raw.dtype != _dtype(graph, name) or done:
            graph = _in_front(graph, name, raw, done)
            text = notation(done) or "a cast"
            notes.append(f"{name} takes raw rows, {raw.dtype} {shown(raw.row)}; the graph does {text}")
    return graph, notes


def raw_of(graph: Graph, name: str, steps: Steps) -> Raw:
    """Return the raw input of a placeholder before its steps; uint8 if the steps are for bytes.

    Raises:
        PlanError: the shape of its rows is unknown, or they are not images.
    """
    shape = known_shape(shape_of_output(graph, TensorRef(name, 0)))
    dtype = _dtype(graph, name)
    if shape is None:
        raise PlanError(f"{graph.source}: the shape of {name} is not known, which its preprocessing depends on")
    row = shape[1:]
    if any(step.arranges for step in steps) and len(row) < 2:
        size = image_size(shape)
        if size is None:
            raise PlanError(f"{graph.source}: {name} takes rows of {shown(row)}, which are not images")
        row = size
    like = _known(row)
    for step in reversed(steps):
        row, like = _row_before(step, row, None, None), _known(_row_before(step, like, SOME_SIZE, 3))
    if any(isinstance(step, OneHot) for step in steps):
        return Raw("int64", row, like)
    found, changes = made_for(steps), any(not (step.arranges or isinstance(step, Bgr)) for step in steps)
    images = len(row) > 1
    of_bytes = found is not None and found[1] == "bytes" and (images or isinstance(found[0], Scale))
    takes = "uint8" if of_bytes or (images and not changes) else "float32"
    return Raw(dtype if dtype in INTEGERS else takes, row, like)


def _dtype(graph: Graph, name: str) -> str:
    return dtype_of_output(graph, TensorRef(name, 0)).name


def _known(row: PartialShape) -> Row:
    return tuple(SOME_SIZE if size is None else size for size in row)


def _row_before(step: Step, row: PartialShape, size: int | None, channels: int | None) -> PartialShape:
    """Return the shape of the rows before a step, with placeholders for sizes and channels that are not fixed."""
    if isinstance(step, OneHot):
        return row[:-1]
    first = len(row) == 3 and row[0] in CHANNELS and row[2] not in CHANNELS
    place = 0 if first else len(row) - 1
    if isinstance(step, Rgb | Grayscale):
        return (*row[:place], channels if isinstance(step, Rgb) else 3, *row[place + 1 :])
    if isinstance(step, Resize):
        height = 0 if len(row) == 2 else 1 if first else place - 2
        return (*row[:height], size, size, *row[height + 2 :])
    return row


def _in_front(graph: Graph, name: str, raw: Raw, steps: Steps) -> Graph:
    """Return the graph with steps between a placeholder, which now accepts raw rows, and its readers."""
    tf, scope = tensorflow(), free_name(f"{name}/preprocess", _scopes(graph))
    shape = known_shape(shape_of_output(graph, TensorRef(name, 0))) or (None,)
    with tf.Graph().as_default() as built:
        fed = tf.compat.v1.placeholder(raw.dtype, [shape[0], *raw.row], name=f"{scope}/rows")
        made, row = tf.cast(fed, tf.float32), raw.like
        with tf.name_scope(f"{scope}/"):
            for step in steps:
                made, row = _OPS[type(step)](step, made, row), step.shape(row)
            made = _as_read(made, steps, _dtype(graph, name), shape)
        nodes = [NodeDef.FromString(node.SerializeToString()) for node in built.as_graph_def().node]
    draft = Draft(graph)
    for node in nodes:
        node.name = name if node.name == fed.op.name else node.name
        node.input[:] = [name if text == fed.op.name else text for text in node.input]
    draft.redirect({TensorRef(name, 0): TensorRef.parse(made.name)})
    draft.nodes[name] = next(node for node in nodes if node.name == name)
    draft.add(*(node for node in nodes if node.name != name), behind=name)
    return draft.sealed()


def _scopes(graph: Graph) -> set[str]:
    """Return the names of ops and of their scopes."""
    names = set(graph.nodes)
    return names | {name[:place] for name in names for place, char in enumerate(name) if char == "/"}


def _as_read(made: Any, steps: Steps, dtype: str, shape: PartialShape) -> Any:
    """Return rows in the original dtype and shape of a placeholder, rounded if the dtype is an integer."""
    tf = tensorflow()
    if dtype in INTEGERS:
        made = tf.saturate_cast(tf.round(made), dtype)
    if made.shape.rank != len(shape):
        made = tf.reshape(made, [-1, *(-1 if size is None else size for size in shape[1:])])
    cast = tf.cast(made, dtype)
    return tf.ensure_shape(cast, shape) if cast.shape.rank == len(shape) else cast


def _scale(step: Any, rows: Any, row: Row) -> Any:
    scaled = rows / step.divisor if step.divisor is not None else rows * _constant(along(step, step.factor, row))
    return scaled if step.offset == 0 else scaled + _constant(along(step, step.offset, row))


def _mean(step: Any, rows: Any, row: Row) -> Any:
    return rows - _constant(along(step, step.values, row))


def _standardize(step: Any, rows: Any, row: Row) -> Any:
    return (rows - _constant(along(step, step.mean, row))) / _constant(along(step, step.std, row))


def _bgr(step: Any, rows: Any, row: Row) -> Any:
    return tensorflow().reverse(rows, [channel_axis(step, row, 3) + 1])


def _keras(step: Any, rows: Any, row: Row) -> Any:
    if step.mode == "tf":
        return rows / 127.5 - 1.0
    if step.mode == "torch":
        return _standardize(Standardize(IMAGENET_MEAN, IMAGENET_STD), rows / 255.0, row)
    return _mean(Mean(IMAGENET_BGR), _bgr(Bgr(), rows, row), row)


def _rgb(step: Any, rows: Any, row: Row) -> Any:
    """Return the first three channels, or a single channel three times, depending on their number at run time."""
    tf = tensorflow()
    axis = image_axis(step, row)
    if axis is None:
        return tf.repeat(rows[..., tf.newaxis], 3, -1)
    last = tf.shape(rows)[axis + 1] - 1
    return tf.gather(rows, tf.minimum(tf.constant([0, 1, 2]), last), axis=axis + 1)


def _grayscale(step: Any, rows: Any, row: Row) -> Any:
    axis = channel_axis(step, row, 3) + 1
    weights = np.array(GREY).reshape([-1 if place == axis else 1 for place in range(len(row) + 1)])
    return tensorflow().reduce_sum(rows * _constant(weights), axis, keepdims=True)


def _resize(step: Any, rows: Any, row: Row) -> Any:
    tf = tensorflow()
    axis = image_axis(step, row)
    if axis is None:
        return _resize(step, rows[..., tf.newaxis], (*row, 1))[..., 0]
    if axis == 0:
        made = _resize(step, tf.transpose(rows, [0, 2, 3, 1]), (*row[1:], row[0]))
        return tf.transpose(made, [0, 3, 1, 2])
    if step.crop:
        rows = _middle(rows, *step.size)
    return tf.image.resize(rows, step.size, step.method, antialias=step.antialias)


def _middle(rows: Any, height: int, width: int) -> Any:
    """Return the centre crop of images with the aspect ratio of a size."""
    tf = tensorflow()
    old = tf.shape(rows)[1:3]
    wide = tf.maximum(tf.minimum(old, tf.reverse(old, [0]) * [height, width] // [width, height]), 1)
    start = (old - wide) // 2
    return tf.slice(rows, tf.concat([[0], start, [0]], 0), tf.concat([[-1], wide, [-1]], 0))


def _one_hot(step: Any, rows: Any, row: Row) -> Any:
    tf = tensorflow()
    numbers = rows if row[-1:] == (1,) else rows[..., tf.newaxis]
    return tf.cast(tf.equal(numbers, tf.range(step.classes, dtype=rows.dtype)), rows.dtype)


def _constant(values: Any) -> Any:
    return tensorflow().constant(values, "float32")


_OPS: dict[type[Step], Callable[[Any, Any, Row], Any]] = {
    Scale: _scale,
    Mean: _mean,
    Standardize: _standardize,
    Bgr: _bgr,
    KerasMode: _keras,
    Rgb: _rgb,
    Grayscale: _grayscale,
    Resize: _resize,
    OneHot: _one_hot,
}
"""The functions that build the ops of steps, from the step, a float32 tensor of rows, and the shape of a row."""
