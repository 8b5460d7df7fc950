"""Checkpoints: named tensors with edits as methods, opened from files and saved to files."""

from ckpttool.checkpoint.checkpoint import Checkpoint
from ckpttool.checkpoint.files import open, save, storable  # noqa: A004
from ckpttool.formats.tensorflow.prefix import prefix_of

__all__ = ["Checkpoint", "open", "prefix_of", "save", "storable"]
