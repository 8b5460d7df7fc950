"""Adding to the catalogue: a model's files, what it is found to be, and what its user says of it."""

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
    root: Path | None = None,
    tags: Sequence[str] = (),
    licence: str | None = None,
    metrics: Sequence[str] = (),
    task: str | None = None,
    datasets: Sequence[str] = (),
    base_model: str | None = None,
    card: Path | None = None,
) -> Manifest:
    """Store a model as the next revision of an entry, and return what was stored.

    Args:
        model: The model, a weights file alone too.
        name: The entry's.
        root: The catalogue's folder, if not the user's own.
        tags: What names this revision, `NAME:TAG`; the card has them too.
        licence: An expression of SPDX, or a word of the Hub's.
        metrics: Such as `accuracy=0.97`.
        task: What it is for, as the Hub names it.
        datasets: What it was trained on.
        base_model: What it was made of.
        card: A text in Markdown; what its head says of all this counts where it is not said here.

    Raises:
        CkptError: it is no model, the name cannot be one, or something said of it is not as it should be.
    """
    require_name(name)
    path = resolve(model)
    facts = described(path)
    said = card_of(Said(licence, metrics, task, tags, datasets, base_model), card, facts.library)
    return add(Catalogue.begun(root), name, ModelFiles.of(path), facts, said, tags)
