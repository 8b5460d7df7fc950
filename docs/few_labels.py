"""The tables of few-labels.md, from the figures stored by `benchmarks/few_labels.py`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parent / "few-labels.json"
NOT_RUN = "Not run here: its images were not at hand. The benchmark runs it where `--fashion` gives their file."


def tables() -> dict[str, str]:
    """Return the tables by the names of their marks on the page."""
    found: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    mnist = {slug: table(task["ways"]) for slug, task in found["MNIST"].items()}
    fashion = [f"**{task['name']}**\n\n{table(task['ways'])}" for task in found.get("Fashion-MNIST", {}).values()]
    return {**mnist, "fashion-mnist": "\n\n".join(fashion) or NOT_RUN}


def table(ways: Sequence[Mapping[str, Any]]) -> str:
    """Return the accuracies of ways by the number of labels, and below each the difference to the way from scratch."""
    numbers = [point["labels"] for point in ways[0]["points"]]
    lines = [f"| | {' | '.join(f'{number:,} labels' for number in numbers)} |"]
    lines.append(f"| --- |{' --- |' * len(numbers)}")
    for way in ways:
        known = {point["labels"]: point for point in way["points"]}
        lines.append(f"| {way['name']} | {' | '.join(cell(known.get(number)) for number in numbers)} |")
    return "\n".join(lines)


def cell(point: Mapping[str, Any] | None) -> str:
    """Return an accuracy, and the difference to the one from scratch with its interval.

    >>> cell({"accuracy": [81.2, 80.1, 82.3], "difference": [4.6, 3.0, 6.2]})
    '81.2: +4.6 (+3.0 to +6.2)'
    >>> cell({"accuracy": [76.6, 75.0, 78.2]})
    '76.6 (75.0 to 78.2)'
    """
    if point is None:
        return ""
    mean, low, high = point["accuracy"]
    if "difference" not in point:
        return f"{mean:.1f} ({low:.1f} to {high:.1f})"
    difference, from_, to = point["difference"]
    return f"{mean:.1f}: {difference:+.1f} ({from_:+.1f} to {to:+.1f})"
