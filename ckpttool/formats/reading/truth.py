"""Truth values: a stored bool is 0 or 1, and programs that trust others misbehave (TFSA-2022-166)."""

from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.tensors import BY_NAME, TensorSpec

BOOL = BY_NAME["bool"]


def require_truth(spec: TensorSpec, piece: Any, path: Path) -> None:
    """Check the bytes of a piece (bytes, or an array of them) where a tensor holds truth values.

    Raises:
        CorruptCheckpoint: one is neither 0 nor 1.
    """
    if spec.dtype is BOOL and bytes(piece).translate(None, b"\0\1"):
        raise CorruptCheckpoint(f"{path}: {spec.name} holds a bool that is neither 0 nor 1")
