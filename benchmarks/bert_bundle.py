"""A bundle of BERT-large's shape: 385 tensors of random weights, 1.3 GB."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.tensors import PIECE, Tensor, TensorSpec

WIDTH, INNER, LAYERS, WORDS, COUNT = 1024, 4096, 24, 28_996, 385


def shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of BERT-large's first 385 variables: those of its last layer without the small ones."""
    out: dict[str, tuple[int, ...]] = {}
    for name, rows in {"word": WORDS, "token_type": 2, "position": 512}.items():
        out[f"bert/embeddings/{name}_embeddings"] = (rows, WIDTH)
    blocks = ["bert/embeddings/LayerNorm", *_layer_norms(), "cls/predictions/transform/LayerNorm"]
    for name in blocks:
        out[f"{name}/beta"] = out[f"{name}/gamma"] = (WIDTH,)
    for layer in range(LAYERS):
        for name, shape in _denses(f"bert/encoder/layer_{layer}").items():
            out[f"{name}/kernel"], out[f"{name}/bias"] = shape, shape[1:]
    small = [name for name in reversed(out) if name.endswith("/bias")]
    return {name: shape for name, shape in out.items() if name not in small[: len(out) - COUNT]}


def _layer_norms() -> list[str]:
    names = ("attention/output", "output")
    return [f"bert/encoder/layer_{layer}/{name}/LayerNorm" for layer in range(LAYERS) for name in names]


def _denses(scope: str) -> dict[str, tuple[int, int]]:
    square = {f"{scope}/attention/self/{name}": (WIDTH, WIDTH) for name in ("query", "key", "value")}
    return square | {
        f"{scope}/attention/output/dense": (WIDTH, WIDTH),
        f"{scope}/intermediate/dense": (WIDTH, INNER),
        f"{scope}/output/dense": (INNER, WIDTH),
    }


def write(prefix: Path, part: int = 1, seed: int = 0) -> int:
    """Write the bundle, or one with a fraction of the rows of each tensor, and return the size of its weights."""
    block = np.random.default_rng(seed).standard_normal(PIECE // 4, dtype=np.float32)
    rows = {name: (max(1, shape[0] // part), *shape[1:]) for name, shape in shapes().items()}
    tensors = {name: _tensor(name, shape, block) for name, shape in rows.items()}
    checkpoint.save(tensors, prefix)
    return sum(tensor.nbytes for tensor in tensors.values())


def _tensor(name: str, shape: tuple[int, ...], block: np.ndarray) -> Tensor:
    spec = TensorSpec(name, shape, BY_NAME["float32"])

    def pieces() -> Iterator[memoryview]:
        for start in range(0, spec.nbytes, PIECE):
            yield block.view(np.uint8).data[: min(PIECE, spec.nbytes - start)]

    return Tensor(spec, lambda: np.resize(block, shape), pieces)
