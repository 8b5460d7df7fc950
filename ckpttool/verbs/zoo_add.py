"""Adding to the catalogue: a model's files, what it is found to be, and what its user says of it."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.catalogue.names import require_name
from ckpttool.core import plain_files
from ckpttool.core.errors import CkptError, FormatError
from ckpttool.model.resolve import resolve
from ckpttool.zoo.describe import described
from ckpttool.zoo.sources import ModelFiles
from ckpttool.zoo.store import add

LONGEST_CARD = 1 << 20
"""Bytes of a card's text."""


def zoo_add(
    model: Path | str,
    name: str,
    root: Path | None = None,
    tags: Iterable[str] = (),
    licence: str | None = None,
    metrics: Iterable[str] = (),
    task: str | None = None,
    datasets: Iterable[str] = (),
    card: Path | None = None,
) -> Manifest:
    """Store a model as the next revision of an entry, and return what was stored.

    Raises:
        CkptError: it is no model, the name cannot be one, or something said of it is not as it should be.
    """
    require_name(name)
    tags = list(tags)
    said = {
        "license": licence,
        "library_name": None,
        "pipeline_tag": task,
        "tags": tags,
        "datasets": list(datasets),
        "metrics": [_metric(text) for text in metrics],
        "text": _text(card) if card else None,
    }
    path = resolve(model)
    return add(Catalogue.begun(root), name, ModelFiles.of(path), described(path), said, tags)


def _metric(text: str) -> dict[str, Any]:
    """Return a metric of `accuracy=0.97`."""
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not name.strip() or not math.isfinite(value):
        raise CkptError(f"`metrics`: {text!r} is no metric: say NAME=NUMBER, such as accuracy=0.97")
    return {"name": name.strip(), "value": value}


def _text(card: Path) -> str:
    with plain_files.opened(card) as file:
        text = file.read(LONGEST_CARD + 1)
    if len(text) > LONGEST_CARD:
        raise FormatError(f"{card} has more than {LONGEST_CARD} bytes: a card is a text for people")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise FormatError(f"{card} is not a text in UTF-8: {error}") from error
