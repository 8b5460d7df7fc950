"""Types of arguments: values are checked against a function's annotations, and models and checkpoints opened."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError, WrongKind
from ckpttool.core.tensors import Array, Tensor
from ckpttool.graph.contents.layers import convolves
from ckpttool.model.model import Model
from ckpttool.runtime.configure import configure_by_default

PathLike = str | os.PathLike[str]
ModelLike = Model | PathLike
"""A model or its path: a prefix, a SavedModel, a Keras file, a URL, `zoo:NAME`, or the result of a function."""
CheckpointLike = Checkpoint | Model | PathLike | Mapping[str, Tensor | Array]
"""A checkpoint, its path, a model (for its weights), or arrays by name."""
Names = Sequence[str] | str
"""Names of tensors, also `NAME=TENSOR` and with a shape, `X[?,28,28,1]`; a single one may be a string."""
_NAMES: dict[Any, str] = {
    NoneType: "None",
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    os.PathLike: "a path",
    Mapping: "a mapping",
    Sequence: "a sequence",
    Collection: "a sequence",
    Iterable: "an iterable",
    Callable: "a function",
    Model: "a Model",
    Checkpoint: "a Checkpoint",
}


def as_path(path: PathLike) -> Path:
    """Return a path.

    >>> as_path("model.ckpt").name
    'model.ckpt'

    Raises:
        WrongKind: it is not a path.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise WrongKind(f"expected a path, found {_said(path)}")
    return Path(path)


def names_of(names: Names) -> Sequence[str]:
    """Return names as a sequence.

    >>> names_of("X"), names_of(["X", "y"])
    (['X'], ['X', 'y'])
    """
    return [names] if isinstance(names, str) else names


def as_model(model: ModelLike, allow_op: Collection[str] = (), ema: bool = False) -> Model:
    """Return a model, opened if it is a path; with `ema` its moving averages replace its weights.

    Raises:
        WrongKind: it is neither a model nor a path.
        MissingFile: the graph or the checkpoint does not exist.
    """
    if isinstance(model, Model):
        return model.averaged() if ema else model
    if isinstance(model, Checkpoint):
        raise WrongKind(f"{model.path or 'model'}: expected a model, which has a graph, found a Checkpoint")
    if not isinstance(model, (str, os.PathLike)):
        raise WrongKind(
            f"`model`: expected a path, a Model, or what finetune, reuse or import wrote, found {_said(model)}"
        )
    return Model.open(os.fspath(model), allow_op, ema)


def to_run(model: ModelLike, allow_op: Collection[str] = (), ema: bool = False, threads: int | None = None) -> Model:
    """Return a model to run here; TensorFlow is configured for it if the program has not done so.

    Raises:
        WrongKind: it is neither a model nor a path.
        MissingFile: the graph or the checkpoint does not exist.
    """
    configure_by_default()  # opening a Keras file builds its network
    opened = as_model(model, allow_op, ema)
    configure_by_default(convolves(opened.graph), threads)
    return opened


def as_checkpoint(ckpt: CheckpointLike) -> Checkpoint:
    """Return a checkpoint: opened if it is a path, or the weights of a model, or arrays.

    Raises:
        WrongKind: it is none of these.
        MissingFile: it does not exist.
    """
    if isinstance(ckpt, Checkpoint):
        return ckpt
    if isinstance(ckpt, Model):
        return ckpt.checkpoint
    if isinstance(ckpt, Mapping):
        return Checkpoint.of(ckpt)
    if not isinstance(ckpt, (str, os.PathLike)):
        raise WrongKind(f"expected a path, a Checkpoint, a Model, or arrays by name, found {_said(ckpt)}")
    return checkpoint.open(os.fspath(ckpt))


def path_of(given: CheckpointLike) -> Path:
    """Return the path of a model or checkpoint on disk, for code that reads its files.

    Raises:
        PlanError: it exists in this process only.
        WrongKind: it is neither, nor a path.
    """
    if isinstance(given, (Model, Checkpoint)):
        path = Path(given.opening.path) if isinstance(given, Model) and given.opening else given.path
        if path is None or (isinstance(given, Checkpoint) and given.origins):
            raise PlanError("a Checkpoint that was made in this process has no files: `save` writes them")
        return path
    if not isinstance(given, (str, os.PathLike)):
        raise WrongKind(f"expected a path, a Model or a Checkpoint, found {_said(given)}")
    return Path(given)


def require_kind(name: str, value: Any, annotation: Any) -> None:
    """Check that an argument has a type that its annotation allows.

    >>> require_kind("epochs", 3, int | None)
    >>> require_kind("epochs", "3", int | None)
    Traceback (most recent call last):
    ckpttool.core.errors.WrongKind: `epochs`: expected a whole number or None, found '3' (str)

    Raises:
        WrongKind: it has another type.
    """
    kinds = _alternatives(annotation)
    if not any(_is_of(value, kind) for kind in kinds):
        names = list(dict.fromkeys(_name(kind) for kind in kinds))
        listed = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        raise WrongKind(f"`{name}`: expected {listed}, found {_said(value)}")


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for each in get_args(annotation) for kind in _alternatives(each)]
    return [annotation]


def _is_of(value: Any, kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if origin is Any:
        return True
    if origin is Literal:
        return value in get_args(kind)
    if origin in (int, float):
        numbers = (int, np.integer) if origin is int else (int, float, np.integer, np.floating)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if origin is Sequence and isinstance(value, (str, bytes)):
        return False
    if origin is Callable or str(origin).endswith("collections.abc.Callable"):
        return callable(value)
    return isinstance(value, origin)


def _name(kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(repr(each) for each in get_args(kind))
    return _NAMES.get(origin) or f"a {origin.__name__}"


def _said(value: Any) -> str:
    shown = repr(value) if isinstance(value, (str, int, float, bool)) else ""
    kind = type(value).__name__
    return f"{shown} ({kind})" if len(shown) in range(1, 60) else f"a value of the type {kind}"
