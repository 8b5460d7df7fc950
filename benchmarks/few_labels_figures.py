"""Statistics of the results of few_labels.py: means, paired differences with intervals, and their plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from few_labels_ways import TASKS, Task, Way
from scipy import stats

CONFIDENCE = 0.95
Results = Sequence[Mapping[str, Any]]


def summary(results: Results) -> dict[str, Any]:
    """Return the accuracies of each task's ways by number of labels, in percent, as stored in JSON."""
    found = {}
    for task in TASKS:
        of_task = [each for each in results if each["task"] == task.slug]
        if of_task:
            found[task.slug] = {"name": task.name, "ways": [_way(way, task, of_task) for way in task.ways]}
    return found


def _way(way: Way, task: Task, results: Results) -> dict[str, Any]:
    """Return the points of a way, each with the mean of its differences to the same draws' results from scratch."""
    points = []
    for labels in sorted({each["labels"] for each in results}):
        own, scratch = (accuracies(results, slug, labels) for slug in (way.slug, task.ways[0].slug))
        seeds = sorted(own.keys() & scratch.keys())
        if not seeds:
            continue
        values = np.array([own[seed] for seed in seeds])
        differences = values - np.array([scratch[seed] for seed in seeds])
        point = {"labels": labels, "seeds": len(seeds), "accuracy": interval(values)}
        points.append(point | ({} if way is task.ways[0] else {"difference": interval(differences)}))
    return {"way": way.slug, "name": way.name, "points": points}


def accuracies(results: Results, way: str, labels: int) -> dict[int, float]:
    """Return the accuracies of a way in percent, by the seeds of their draws."""
    chosen = [each for each in results if each["way"] == way and each["labels"] == labels]
    return {each["seed"]: 100 * each["accuracy"] for each in chosen}


def interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    """Return a mean and the ends of its interval by Student's t.

    >>> interval(np.array([1.0, 2.0, 3.0]))
    [2.0, -0.48, 4.48]
    """
    mean = float(values.mean())
    if len(values) < 2:
        return [round(mean, 2), round(mean, 2), round(mean, 2)]
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return [round(mean, 2), round(mean - half, 2), round(mean + half, 2)]


def draw(tasks: Mapping[str, Any], title: str, path: Path) -> None:
    """Plot accuracy by labels: a panel for each task, a line with intervals for each way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(tasks), figsize=(5 * len(tasks), 4.2), squeeze=False, layout="constrained")
    for task, axis in zip(tasks.values(), axes[0], strict=True):
        for number, way in enumerate(task["ways"]):
            labels = [point["labels"] * 1.03 ** (number - 2) for point in way["points"]]
            means = np.array([point["accuracy"] for point in way["points"]]).reshape(-1, 3)
            errors = np.abs(means[:, 1:] - means[:, :1]).T
            style = {"color": "black", "linestyle": "--"} if number == 0 else {}
            axis.errorbar(labels, means[:, 0], errors, label=way["name"], capsize=2, linewidth=1.4, **style)
        axis.set(xscale="log", xlabel="labelled rows", ylabel="accuracy on test rows, %", title=task["name"])
        ticks = [point["labels"] for point in task["ways"][0]["points"]]
        axis.set_xticks(ticks, [f"{each:,}" for each in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
