"""Checkpoints: named tensors with the verbs of surgery as methods, opened from files and saved to them."""

from ckpttool.checkpoint.checkpoint import Checkpoint
from ckpttool.checkpoint.files import open, save, storable  # noqa: A004
from ckpttool.formats.tensorflow.prefix import prefix_of

__all__ = ["Checkpoint", "open", "prefix_of", "save", "storable"]
