"""The tables of the attacks' results, from the figures stored by `trust/figures.py`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parents[1] / "trust" / "figures.json"
Figure = Mapping[str, Any]


def tables() -> dict[str, str]:
    """Return the README's table and that of trust/README.md by the names of their marks."""
    kept = json.loads(FIGURES.read_text(encoding="utf-8"))
    ours = [each for each in kept["figures"] if "of" not in each]
    others = {each["figure"]: each for each in shown([each for each in kept["figures"] if "of" in each])}
    figures = shown(ours)
    return {
        "trust": "\n\n".join([short(figures, others), made_on(kept)]),
        "figures": "\n\n".join([long([*figures, *others.values()]), made_on(kept)]),
    }


def shown(figures: Sequence[Figure]) -> list[Figure]:
    """Return one figure of each name: that of the whole grid, unless a part of it was tried later and was bad.

    >>> whole, part = {"figure": "a", "whole": True, "bad": 0}, {"figure": "a", "whole": False, "bad": 0}
    >>> [each["whole"] for each in shown([part, whole])]
    [True]
    >>> shown([part | {"bad": 2}, whole])
    [{'figure': 'a', 'whole': False, 'bad': 2}]
    """
    chosen: dict[str, Figure] = {}
    for each in figures:
        known = chosen.get(each["figure"])
        if known is None or (each["bad"] > 0, each["whole"]) > (known["bad"] > 0, known["whole"]):
            chosen[each["figure"]] = each
    return list(chosen.values())


def short(figures: Sequence[Figure], others: Mapping[str, Figure]) -> str:
    """Return a line for each figure: the attack, the number of bad outcomes, and that of TensorFlow."""
    lines = ["| attack | tried | bad | bad in TensorFlow itself |", "| --- | ---: | ---: | ---: |"]
    for each in figures:
        beside = others.get(each["figure"])
        told = f"{beside['bad']:,} of {beside['tried']:,}" if beside else ""
        tried = f"{each['tried']:,}{'' if each['whole'] else ' †'}"
        lines.append(f"| {each['figure']} | {tried} | {each['bad']:,} | {told} |")
    parts = "" if all(each["whole"] for each in figures) else "\n\n† A part of the grid, as `make trust` tries it."
    return "\n".join(lines) + parts


def long(figures: Sequence[Figure]) -> str:
    """Return a line for each figure, TensorFlow's too, with its script and its note."""
    lines = ["| attack | on | script | tried | bad | seconds | of these | date |"]
    lines.append("| --- | --- | --- | ---: | ---: | ---: | --- | --- |")
    for each in figures:
        script = f"`{' '.join([each['script'], each['given']]).strip()}`"
        numbers = [f"{each[key]:,}" for key in ("tried", "bad", "seconds")]
        cells = [each["figure"], each.get("of", "ckpttool"), script, *numbers, each["note"], each["date"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def made_on(kept: Mapping[str, Any]) -> str:
    """Return when and on which machine the figures were made."""
    machine, versions = kept["machine"], kept["machine"]["versions"]
    tensorflow = versions.get("tensorflow") or versions.get("tensorflow-cpu")
    packages = (
        f"Python {machine['python']}, TensorFlow {tensorflow}, NumPy {versions['numpy']}, h5py {versions['h5py']}"
    )
    return (
        f"Made on {kept['date']} with {packages}, on {machine['cores']} cores and {machine['memory_gb']} GB of memory."
    )
