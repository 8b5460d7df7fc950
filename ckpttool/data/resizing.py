"""Resizing of images as in `tf.image.resize`: by a weight matrix for the rows of pixels and one for the columns.

Pixel centres are at half-integers (0.5, 1.5 ...), as in Pillow, TensorFlow 2 and Keras. `tf.image.resize`, and
therefore `keras.utils.image_dataset_from_directory`, `smart_resize` and the layer Resizing, do not blur images before
they make them smaller; Pillow, and therefore `keras.utils.load_img`, does: that is `antialias`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckpttool.core.tensors import Array

Weights = NDArray[np.float32]
"""The weights of the old pixels in the new ones, [new, old]."""


def _triangle(distance: Array) -> Array:
    return np.maximum(0.0, 1.0 - np.abs(distance))


def _cubic(distance: Array) -> Array:
    """Return Keys's cubic kernel with a = -0.5 (Keys 1981)."""
    x = np.abs(distance)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(distance: Array) -> Array:
    return np.where(np.abs(distance) < 3.0, np.sinc(distance) * np.sinc(distance / 3.0), 0.0)


KERNELS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos3": (_lanczos, 3.0),
}
"""The kernel (weight by distance) and its radius for each method; `nearest` and `area` have none."""
TABLE = 1024
"""The number of positions between two pixels in TensorFlow's table of the cubic kernel."""


def resized(images: Array, height: int, width: int, axes: tuple[int, int], method: str, antialias: bool) -> Array:
    """Return images of another size; `axes` are the consecutive axes of the height and the width.

    >>> resized(np.arange(4.0, dtype=np.float32).reshape(1, 2, 2), 1, 2, (1, 2), "bilinear", False).tolist()
    [[[1.0, 2.0]]]
    """
    rows, columns = axes
    if method == "nearest":
        images = np.take(images, _nearest(images.shape[rows], height), axis=rows)
        return np.take(images, _nearest(images.shape[columns], width), axis=columns)
    images = _weighted(images, weights(images.shape[rows], height, method, antialias), rows)
    return _weighted(images, weights(images.shape[columns], width, method, antialias), columns)


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    places: NDArray[np.int64] = np.floor((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
    return np.minimum(places, old - 1, dtype=np.int64)


@lru_cache(64)
def weights(old: int, new: int, method: str, antialias: bool) -> Weights:
    """Return the weights of `old` pixels in `new` ones, [new, old].

    >>> weights(4, 2, "bilinear", False).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    scale = old / new
    places: NDArray[Any] = np.arange(old)
    if method == "area":
        start, stop = (np.arange(new) + end for end in (0, 1))
        covered = np.minimum(stop[:, None] * scale, places + 1) - np.maximum(start[:, None] * scale, places)
        found = np.maximum(covered, 0.0)
    else:
        kernel, reach = KERNELS[method]
        blur = max(scale, 1.0) if antialias else 1.0
        middles = (np.arange(new) + 0.5) * scale - 0.5
        if method == "bilinear" and not antialias:
            middles = np.clip(middles, 0, old - 1)
        if method == "bicubic" and not antialias:  # TensorFlow uses a table of this kernel
            middles = np.floor(middles) + np.round((middles % 1.0) * TABLE) / TABLE
        distances = (places - middles[:, None]) / blur
        found = np.where(np.abs(distances) < reach, kernel(distances), 0.0)
    made: Weights = (found / found.sum(axis=1, keepdims=True)).astype(np.float32)
    return made


def _weighted(images: Array, matrix: Weights, axis: int) -> Array:
    """Return the weighted sums along an axis."""
    shape = images.shape
    if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix), dtype=matrix.dtype)):
        return images
    after = int(np.prod(shape[axis + 1 :]))
    stacked = images.reshape(-1, shape[axis], after)
    factors = matrix.astype(images.dtype, copy=False)
    made = stacked.reshape(-1, shape[axis]) @ factors.T if after == 1 else factors @ stacked
    return made.reshape(*shape[:axis], len(matrix), *shape[axis + 1 :])
