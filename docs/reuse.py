"""The tables of how-much-to-reuse.md, from the figures stored by `benchmarks/how_much_to_reuse.py`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "how-much-to-reuse.json"
NOT_RUN = "Not run here: its images were not at hand. The benchmark runs it where `--fashion` gives their file."
Searches = Sequence[Mapping[str, Any]]


def tables() -> dict[str, str]:
    """Return the tables by the names of their marks on the page."""
    found: dict[str, Searches] = json.loads(FIGURES.read_text(encoding="utf-8"))
    fashion = [by_depth(found[name]) for name in ("to_fashion", "to_mnist") if name in found]
    return {
        "answers": answers(found["few"]),
        "judged": by_depth(found["judged"]),
        "trunk": by_depth(found["trunk_judged"]),
        "scanned": answers(found["scanned"]),
        "mixed": by_depth(found["mixed"]),
        "fashion": "\n\n".join(fashion) or NOT_RUN,
    }


def answers(searches: Searches) -> str:
    """Return the table of recommendations, by number of rows, with the accuracy on examples not used to select."""
    lines = ["| labelled examples | recommended | test accuracy | from scratch | best frozen | best trained | tied |"]
    lines.append("| ---: | --- | --- | --- | --- | --- | ---: |")
    for each in searches:
        sure = not each["recommended"].startswith("nothing")
        told = percent(each) if sure else ""
        best = [best_of(each["configurations"], kind) for kind in ("scratch", "frozen", "trained")]
        tied = sum(one["what"] == "tied" for one in each["configurations"])
        cells = [f"{each['rows']:,}", each["recommended"] if sure else "nothing", told, *best, f"{tied}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def by_depth(searches: Searches) -> str:
    """Return the accuracies by kept layers, all frozen and all trained, and by the number of rows."""
    known = [{(one["keep"], one["freeze"]): one for one in each["configurations"]} for each in searches]
    keeps = sorted({keep for one in known for keep, _ in one if keep})
    names = {(0, 0): "from scratch", **{(keep, keep): f"{keep} kept, frozen" for keep in keeps}}
    names |= {(keep, 0): f"{keep} kept, trained" for keep in keeps}
    numbers = [f"{each['rows']:,} examples" for each in searches]
    lines = [f"| | {' | '.join(numbers)} |", f"| --- |{' --- |' * len(searches)}"]
    for key, name in names.items():
        lines.append(f"| {name} | {' | '.join(marked(one.get(key)) for one in known)} |")
    chosen = [each["recommended"] for each in searches]
    return "\n".join([*lines, f"| *recommended* | {' | '.join(f'*{each}*' for each in chosen)} |"])


def best_of(configurations: Searches, kind: str) -> str:
    """Return the best accuracy of a kind."""
    of_kind = [one for one in configurations if kind_of(one) == kind and one["accuracy"] is not None]
    return marked(max(of_kind, key=lambda one: one["accuracy"], default=None))


def kind_of(one: Mapping[str, Any]) -> str:
    """Return which of the kept layers are frozen."""
    if not one["keep"]:
        return "scratch"
    return "frozen" if one["freeze"] == one["keep"] else "partly" if one["freeze"] else "trained"


def marked(one: Mapping[str, Any] | None) -> str:
    """Return an accuracy with its interval, and a dagger if the configuration was pruned."""
    if one is None or one["accuracy"] is None:
        return ""
    return percent(one) + (" †" if one["state"] == "stopped" else "")


def percent(one: Mapping[str, Any]) -> str:
    """Return an accuracy with its interval, in percent.

    >>> percent({"accuracy": 0.8874, "low": 0.874, "high": 0.899})
    '88.7 (87.4 to 89.9)'
    """
    return f"{100 * one['accuracy']:.1f} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
