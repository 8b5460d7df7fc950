"""Adding to the catalogue: a model's files, the facts found in it, and what its user specifies."""

from collections.abc import Sequence
from pathlib import Path

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest
from ckpttool.catalogue.names import require_name
from ckpttool.model.resolve import resolve
from ckpttool.zoo.card import Said, card_of
from ckpttool.zoo.describe import described
from ckpttool.zoo.sources import ModelFiles
from ckpttool.zoo.store import add


def zoo_add(
    model: Path | str,
    name: str,
    *,
    root: Path | None = None,
    tags: Sequence[str] = (),
    licence: str | None = None,
    metrics: Sequence[str] = (),
    task: str | None = None,
    datasets: Sequence[str] = (),
    base_model: str | None = None,
    card: Path | None = None,
) -> Manifest:
    """Store a model as the next revision of an entry, and return the stored revision.

    Args:
        model: The model, or a file of weights.
        name: The name of the entry.
        root: The catalogue's folder; by default the user's own.
        tags: The tags of this revision, `NAME:TAG`, which the card has too.
        licence: An SPDX expression, or an identifier of the Hub.
        metrics: Such as `accuracy=0.97`.
        task: The task, as named by the Hub.
        datasets: The data that it was trained on.
        base_model: The model that it was made from.
        card: A Markdown text; its metadata is used for everything not specified here.

    Raises:
        CkptError: it is not a model, or the name or another argument is invalid.
    """
    require_name(name)
    path = resolve(model)
    facts = described(path)
    said = card_of(Said(licence, metrics, task, tags, datasets, base_model), card, facts.library)
    return add(Catalogue.begun(root), name, ModelFiles.of(path), facts, said, tags)
