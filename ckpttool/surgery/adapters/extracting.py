"""Extracting an adapter from a tuned model: the change of each matrix as a product of low rank, by a truncated SVD.

The change is reshaped to a matrix of outputs by all other dimensions, as in PEFT's layers. If it is not of low rank,
the singular vectors are computed from the smaller Gram matrix in float64, exact to 1e-7 of the largest value.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.surgery.adapters.changes import widened
from ckpttool.surgery.blocks import same_bytes

ROWS = 4096
"""The number of rows that are multiplied at a time."""
DIRECTIONS = 72
"""The number of random directions for a first estimate: adapters have at most rank 64."""
LEFT = 1e-10
"""The fraction of a change's energy that is negligible, due to rounding in float32."""
WIDEST = 1 << 15
"""The maximum smaller dimension of a matrix to decompose: the time grows with its third power."""


@dataclass(frozen=True)
class Factors:
    """The change of one weight as up @ down, with its error.

    `error` is the norm of the residual relative to that of the change, `enough` the rank with the requested `energy`,
    `of` the maximum rank for the shape.
    """

    name: str
    shape: tuple[int, ...]
    up: Array
    down: Array
    error: float
    enough: int
    of: int

    @property
    def rank(self) -> int:
        """The rank of the product."""
        return int(self.down.shape[0])


@dataclass(frozen=True)
class Moved:
    """The weights of a tuned model that differ from the base: matrices, and others with a description.

    `missing` describes weights that are in only one model, or have different shapes: an adapter cannot represent these.
    """

    matrices: tuple[str, ...]
    others: dict[str, str]
    missing: tuple[str, ...]
    same: int


def moved(base: Checkpoint, tuned: Checkpoint) -> Moved:
    """Return the weights that differ between two models, compared byte by byte; slots and counters are ignored."""
    kinds = {**base.kinds(), **tuned.kinds()}
    matrices: list[str] = []
    others: dict[str, str] = {}
    missing: list[str] = []
    same = 0
    for name in (name for name, kind in kinds.items() if kind == "weight"):
        a, b = base.get(name), tuned.get(name)
        if a is None or b is None:
            missing.append(f"{name} is only in {'the base' if b is None else 'the tuned model'}")
        elif a.shape != b.shape:
            missing.append(f"{name} is {list(a.shape)} in the base, {list(b.shape)} in the tuned model")
        elif a.dtype is b.dtype and same_bytes(a, b):
            same += 1
        elif len(a.shape) < 2 or min(a.shape) < 1:
            others[name] = "not a matrix"
        elif a.dtype.numpy.kind not in "fV" or b.dtype.numpy.kind not in "fV":
            others[name] = f"{b.dtype} elements"
        else:
            matrices.append(name)
    return Moved(tuple(matrices), others, tuple(missing), same)


def factors(base: Tensor, tuned: Tensor, rank: int | None, energy: float, inputs_first: bool) -> Factors | None:
    """Return the change of a weight as a product of the given rank, or of the rank with a fraction of the energy.

    None if no number changes. The energy is the sum of squares; both factors have the same norm.

    >>> one, other = np.zeros((4, 3), np.float32), np.outer([1.0, 2, 3, 4], [1, 1, 2]).astype(np.float32)
    >>> found = factors(Tensor.of("w", one), Tensor.of("w", other), 2, 0.99, False)
    >>> found.enough, found.up.shape, found.down.shape, bool(found.error < 1e-6)
    (1, (4, 2), (2, 3), True)

    Raises:
        PlanError: a number or its square is not finite, or the matrix is too large to be decomposed.
    """
    change = _outputs_first(widened(tuned), inputs_first) - _outputs_first(widened(base), inputs_first)
    shape = change.shape
    matrix = change.reshape(shape[0], -1)
    if min(matrix.shape) > WIDEST:
        raise PlanError(
            f"{base.name} is {list(base.shape)}: at most {WIDEST} are supported for the smaller dimension of a "
            "matrix to decompose"
        )
    if not np.isfinite(matrix).all():
        raise PlanError(f"{base.name}: the change contains NaN or infinities")
    with np.errstate(over="ignore"):
        total = sum(float(np.square(block).sum()) for block in _blocks(matrix))
    if not np.isfinite(total):
        raise PlanError(f"{base.name}: the change contains numbers whose squares exceed float64")
    if not total:
        return None
    left, values, right = _of_low_rank(matrix, total) or _decomposed(matrix)
    shares = np.minimum(np.cumsum(values**2) / total, 1.0)
    most = min(matrix.shape)
    enough = min(int(np.searchsorted(shares, min(energy, 1 - LEFT))) + 1, len(values))
    kept = min(enough if rank is None else rank, len(values))
    root = np.sqrt(values[:kept])
    up = np.ascontiguousarray(left[:, :kept] * root, np.float32)
    down = np.ascontiguousarray(root[:, None] * right[:kept], np.float32)
    error = sqrt(max(0.0, 1 - float(shares[kept - 1])))
    flat = (1,) * (len(shape) - 2)
    return Factors(
        base.name, base.shape, up.reshape(*up.shape, *flat), down.reshape(kept, *shape[1:]), error, enough, most
    )


def _of_low_rank(matrix: Array, total: float) -> tuple[Array, Array, Array] | None:
    """Return the singular vectors and values of a matrix of low rank; None for a higher rank.

    A few random directions are sufficient (Halko, Martinsson and Tropp 2011), and far faster than a decomposition.
    """
    if min(matrix.shape) < 4 * DIRECTIONS:
        return None
    seen = _times(matrix, np.random.default_rng(0).standard_normal((matrix.shape[1], DIRECTIONS)))
    basis = np.linalg.qr(seen)[0]
    basis = np.linalg.qr(_times(matrix, _times(matrix.T, basis)))[0]
    left, values, right = np.linalg.svd(_times(matrix.T, basis).T, full_matrices=False)
    return (basis @ left, values, right) if total - float((values**2).sum()) < LEFT * total else None


def _times(matrix: Array, other: Array) -> Array:
    return np.concatenate([block @ other for block in _blocks(matrix)])


def _decomposed(matrix: Array) -> tuple[Array, Array, Array]:
    """Return the singular vectors and values of a matrix, the largest first."""
    tall = matrix.shape[0] >= matrix.shape[1]
    own = matrix if tall else matrix.T
    gram = np.zeros((own.shape[1], own.shape[1]))
    for block in _blocks(own):
        gram += block.T @ block
    squares, vectors = np.linalg.eigh(gram)
    order = np.argsort(squares)[::-1]
    values, vectors = np.sqrt(np.maximum(squares[order], 0.0)), vectors[:, order]
    known = values > values[0] * 1e-7 if len(values) else values > 0
    values = np.where(known, values, 0.0)
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=known)
    others = np.concatenate([block @ vectors * inverse for block in _blocks(own)])
    return (others, values, vectors.T) if tall else (vectors, values, others.T)


def _blocks(matrix: Array) -> Iterator[Array]:
    """Yield blocks of rows of a matrix in float64."""
    for start in range(0, len(matrix), ROWS):
        yield matrix[start : start + ROWS].astype(np.float64)


def _outputs_first(array: Array, inputs_first: bool) -> Array:
    """Return a kernel in PyTorch's layout, with its outputs first and its window last."""
    if not inputs_first:
        return array
    rank = array.ndim
    return array.transpose(rank - 1, rank - 2, *range(rank - 2))


def configuration(
    found: dict[str, Factors], whole: tuple[str, ...], biases: bool, fan_in_fan_out: bool, base: str
) -> dict[str, Any]:
    """Return the content of PEFT's `adapter_config.json`; each alpha is the rank, so that products are not scaled.

    Layers whose rank differs from most are in the patterns, the longest name first: PEFT uses the first pattern with
    which a name ends.
    """
    ranks = {module: each.rank for module, each in found.items()}
    usual = max(ranks.values(), key=list(ranks.values()).count, default=1)
    others = {name: rank for name, rank in sorted(ranks.items(), key=lambda each: -len(each[0])) if rank != usual}
    # a layer of the usual rank may end with a name in the patterns
    odd = {name: usual for name in ranks if any(name.endswith(f".{other}") for other in others) and name not in others}
    patterns = dict(sorted((others | odd).items(), key=lambda each: -len(each[0])))
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": patterns,
        "alpha_pattern": dict(patterns),
        "target_modules": list(found),
        "modules_to_save": list(whole) or None,
        "bias": "all" if biases else "none",
        "fan_in_fan_out": fan_in_fan_out,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }


def parameters(found: Factors) -> tuple[int, int]:
    """Return the number of elements of the factors, and of the weight."""
    return found.up.size + found.down.size, prod(found.shape)
