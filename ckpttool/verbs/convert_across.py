"""Conversion across frameworks: the weights of one file with the names, shapes and layouts of another.

`model/across.py` pairs the tensors; this module determines what is written, and how.
"""

from dataclasses import replace
from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Writing
from ckpttool.model.across import across
from ckpttool.model.resolve import open_checkpoint
from ckpttool.surgery.convert import Conversion, plan_convert


def converted_across(
    source: Checkpoint, like: Path, to: str, lenient: bool = False, how: Writing = PLAIN
) -> Conversion:
    """Return the weights of a checkpoint in the form of another file of the same network.

    Args:
        source: The weights; its slots and counters are not converted.
        like: The file whose names, shapes, dtypes and layouts they get.
        to: The format to write.
        lenient: Whether to skip tensors without a counterpart; those of `like` keep their values.
        how: The settings of writing.

    Raises:
        PlanError: neither side has a network that determines layouts, or a tensor has no counterpart.
        FormatError: the format cannot store a tensor.
    """
    model = open_checkpoint(like)
    filled = across(source, model, like, lenient)
    planned = plan_convert(filled.tensors, to, lenient=lenient, how=_writing(how, like, to, model))
    rows = tuple({**row, "then": _fate(filled.sources.get(row["name"]), like)} for row in planned.rows)
    return replace(planned, rows=rows, notes=(*filled.notes, *planned.notes))


def _fate(made_of: str | None, like: Path) -> str:
    return f"as in {like.name}" if made_of is None else f"from {made_of}"


def _writing(how: Writing, like: Path, to: str, model: Checkpoint) -> Writing:
    """Return the settings for writing a file like another: with its structure, or for PyTorch loaders."""
    target = registry.get(to)
    texts = {"format": "pt"} if target.METADATA and model.format == "torch" else {}
    return replace(how, like=like if "like" in target.OPTIONS else None, metadata={**how.metadata, **texts})
