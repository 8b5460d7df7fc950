"""Catalogues for attacks: models to add, the state of a catalogue, and what is bad about it after an attack."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.core.errors import CkptError
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_compact import zoo_compact
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.verbs.zoo_remove import zoo_remove
from ckpttool.verbs.zoo_verify import zoo_verify

Work = Callable[[Path], object]
MODELS = 6


def make_models(folder: Path, side: int = 40) -> None:
    """Change into a folder, and write models there that share a tensor."""
    os.chdir(folder)
    for number in range(MODELS):
        shape = side, side
        values = {"own/kernel": np.full(shape, number, np.float32), "frozen/kernel": np.ones(shape, np.float32)}
        checkpoint.save(values, f"{number}.safetensors", overwrite=True)


def make_catalogue(root: Path) -> None:
    """Fill a catalogue: two revisions, something compacted, and something to collect."""
    for number in (4, 5):
        zoo_add(f"{number}.safetensors", f"compacted{number}", root=root)
    zoo_compact(root)
    zoo_add("1.safetensors", "x", root=root, tags=["old"])
    zoo_add("2.safetensors", "x", root=root, tags=["best"])
    zoo_add("0.safetensors", "gone", root=root)
    zoo_remove("gone", root)


def state_of(root: Path) -> dict[str, Any]:
    """Return the state of a catalogue: the values of all revisions, and the tags."""
    os.environ["CKPTTOOL_ZOO"] = str(root)
    catalogue, found = Catalogue.open(root), dict[str, Any]()
    for name in catalogue.names():
        for revision in catalogue.revisions(name):
            opened = checkpoint.open(f"zoo:{name}@{revision}")
            found[f"{name}@{revision}"] = {each: float(tensor.read().max()) for each, tensor in opened.items()}
        if catalogue.revisions(name):
            found[f"tags of {name}"] = catalogue.tags(name)
    return found


def orphans(root: Path) -> list[str]:
    """Return the files that remain in a catalogue after collection, but should not."""
    zoo_gc(root=root)
    again = zoo_gc(root=root)
    others = [path.name for folder in ("tmp", "condemned") for path in (root / folder).glob("*")]
    return [*again.blobs, *(each.path for each in again.others), *others]


def judged(root: Path, work: Work, before: Any, after: Any) -> list[str]:
    """Read the catalogue, run the command again and collect; return what is bad."""
    problems = []
    there = state_of(root)
    tags_between = {key: value for key, value in there.items() if not key.startswith("tags")}
    if there not in (before, after) and tags_between not in (without_tags(before), without_tags(after)):
        problems.append(f"lost or mixed: {there}")
    if zoo_verify(root=root).problems:
        problems.append(f"damaged: {zoo_verify(root=root).problems[:2]}")
    with contextlib.suppress(CkptError):  # done already: nothing is left to remove
        work(root)
    if (then := state_of(root)) != after:
        problems.append(f"not done again: {then}")
    if left := orphans(root):
        problems.append(f"left: {left[:3]}")
    if state_of(root) != after or zoo_verify(root=root).problems:
        problems.append("lost by collecting")
    return problems


def without_tags(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without its tags, each of which is set separately."""
    return {key: value for key, value in state.items() if not key.startswith("tags")}


def show(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)
