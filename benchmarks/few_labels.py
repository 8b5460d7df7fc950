"""The benefit of layers trained without labels if labels are few: the figures of docs/few-labels.md.

    python benchmarks/few_labels.py mnist.npz FOLDER [--fashion fashion-mnist.npz] [--keep]

For each number of labels, stratified rows are drawn ten times; all ways use the same draws, so they are compared by
their differences to the way from scratch. Each way selects its learning rate on a held-out fifth of its labelled rows;
then it is trained on all of them. Nothing else is tuned, and the test rows are only for the report. Existing files in
FOLDER are not made again, so an interrupted run can be resumed. With `--keep` the figures are stored in docs/, from
which `make docs` makes the tables, and the pictures next to them. FOLDER has a subfolder for each data set.
"""

import json
import time
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from few_labels_figures import draw, summary
from few_labels_ways import PAIRED, TASKS, Task, Way
from numpy.typing import NDArray

import ckpttool
from ckpttool import Model, Options, PretrainingMethod, PseudoLabels, Recipe, SearchOptions

DOCS = Path(__file__).parent.parent / "docs"
FIGURES = DOCS / "few-labels.json"
PICTURES = {"MNIST": "few-labels.png", "Fashion-MNIST": "few-labels-fashion.png"}
EPOCHS = {50: 30, 100: 30, 300: 30, 1000: 20, 10_000: 6}
"""Numbers of epochs by the number of labelled rows."""
BATCH = {50: 5, 100: 10, 300: 20, 1000: 32, 10_000: 100}
RATES = (0.001, 0.003)
"""Learning rates of Adam, of which each way uses the better one."""
HELD_OUT = "20%"
WATCHED = 10
"""Test rows used by `finetune` as validation rows; they select nothing, as the last epoch is kept."""
Rows = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Draw:
    """A draw of labelled rows: their number, the seed of the draw, and its file."""

    labels: int
    seed: int
    path: Path

    @property
    def options(self) -> Options:
        """Options for training a network on them."""
        epochs, batch = EPOCHS[self.labels], BATCH[self.labels]
        return Options(epochs=epochs, batch_size=batch, seed=self.seed, keep="last", valid=HELD_OUT)


@dataclass(frozen=True)
class Study:
    """A task on the rows of a data set, and the folder of its files."""

    rows: Rows
    folder: Path
    task: Task

    @property
    def place(self) -> Path:
        """The folder of files that belong to this task alone."""
        return self.folder / self.task.slug

    def draw(self, labels: int, seed: int) -> Draw:
        """Draw labelled rows of the task's classes, equally many of each."""
        path = self.place / f"{labels}-{seed}.npz"
        if not path.exists():
            rng, classes = np.random.default_rng(seed), range(*self.task.classes)
            each = labels // len(classes)
            places = [rng.permutation(np.flatnonzero(self.rows["y_train"] == one))[:each] for one in classes]
            chosen = rng.permutation(np.concatenate(places))
            told = np.isin(self.rows["y_test"], classes)
            first = self.task.classes[0]
            x, y = self.rows["x_test"][told], self.rows["y_test"][told] - first
            labelled = self.rows["x_train"][chosen], self.rows["y_train"][chosen] - first
            np.savez(path, x_train=labelled[0], y_train=labelled[1], x_test=x, y_test=y)
        return Draw(labels, seed, path)

    def unlabelled(self) -> Path:
        """Return the file of all rows, without their labels."""
        path = self.folder / "unlabelled.npz"
        if not path.exists():
            np.savez(path, x_train=self.rows["x_train"])
        return path

    def start(self, way: Way, draw: Draw) -> tuple[Model, dict[str, Any]]:
        """Return a way's initial network with a new head, and its choice of kept and frozen layers."""
        path, chosen = self.place / "start.ckpt", {"layers": way.kept if way.method or way.reuses else None}
        if chosen["layers"]:
            base = self.pretrained(way, draw) if way.method else self.of_other_classes(way)
            chosen = self.searched(base, draw) if way.searches else chosen
        if chosen["layers"]:
            ckpttool.plan_reuse(base, chosen["layers"], head=self.task.head, seed=draw.seed).write(path, True)
        else:
            ckpttool.new(self.task.shape, f"{way.layers}; {self.task.head}", path, seed=draw.seed, overwrite=True)
        return Model.open(path), chosen

    def pretrained(self, way: Way, draw: Draw) -> Model:
        """Return a way's layers, pretrained on all rows without labels; on the labelled ones if by pairs."""
        assert way.method is not None
        method = PretrainingMethod.read(way.method, "`method`")
        options = Options(epochs=way.epochs, batch_size=way.batch, recipe=Recipe(way.optimizer), augment=way.augment)
        if way.method.startswith(PAIRED):
            path, data = self.place / "paired.ckpt", draw.path
            own = replace(draw.options, valid=HELD_OUT, keep="best")
            ckpttool.pretrain(data, way.layers, method, path, own, self.task.shape, overwrite=True)
            return Model.open(path)
        path = self.folder / f"{way.slug}.ckpt"
        if not path.with_name(f"{path.name}.index").exists():
            ckpttool.pretrain(self.unlabelled(), way.layers, method, path, options, self.task.shape)
        return Model.open(path)

    def of_other_classes(self, way: Way) -> Model:
        """Return a way's layers, trained on all labelled rows of the classes outside of the task."""
        path = self.place / "others.ckpt"
        if not path.with_name(f"{path.name}.index").exists():
            count, data = self.task.classes[0], self.place / "others.npz"
            chosen = self.rows["y_train"] < count
            np.savez(data, x_train=self.rows["x_train"][chosen], y_train=self.rows["y_train"][chosen])
            fresh = self.place / "fresh.ckpt"
            ckpttool.new(self.task.shape, f"{way.layers}; outputs = dense({count})", fresh, overwrite=True)
            options = Options(epochs=5, batch_size=100, recipe=Recipe("adam(0.001)"))
            ckpttool.finetune(Model.open(fresh), data, path, options)
        return Model.open(path)

    def searched(self, model: Model, draw: Draw) -> dict[str, Any]:
        """Return the recommendation of a search on the labelled rows, or its best configuration if there is none."""
        options = replace(draw.options, recipe=Recipe(f"adam({RATES[0]})"), valid=None)
        how, path = SearchOptions(seeds=1, probe=False), self.place / "search.ckpt"
        found = ckpttool.search_reuse(
            model, draw.path, self.task.head, path, options=options, how=how, overwrite=True, write=False
        )
        said = found.recommendation
        assert said is not None
        one = said.configuration or said.best
        names = [[name for depth in found.depths[: end + 1] for name in depth.layers] for end in (one.keep, one.freeze)]
        layers, freeze = ("|".join(each) or None for each in names)
        return {"keep": one.keep, "sure": said.configuration is not None, "layers": layers, "freeze": freeze}

    def accuracy(self, way: Way, draw: Draw) -> dict[str, Any]:
        """Train in a way on the labelled rows, and return its test accuracy and its choices."""
        start, chosen = self.start(way, draw)
        options = replace(draw.options, freeze=chosen.get("freeze"))
        judged = {rate: self.judged(start, draw, replace(options, recipe=Recipe(f"adam({rate})"))) for rate in RATES}
        rate = max(judged, key=judged.__getitem__)
        told = self.told(start, draw, way, replace(options, recipe=Recipe(f"adam({rate})"), valid=None))
        return {"rate": rate, "accuracy": told, **chosen}

    def judged(self, start: Model, draw: Draw, options: Options) -> tuple[float, float]:
        """Return the score of options on the held-out labelled rows: accuracy, then loss."""
        last = ckpttool.finetune(start, draw.path, self.place / "judged.ckpt", options, True).history[-1]
        return last.valid_accuracy or 0.0, -last.valid_loss

    def told(self, start: Model, draw: Draw, way: Way, options: Options) -> float:
        """Return the test accuracy after training on all labelled rows."""
        path, data = self.place / "told.ckpt", self.place / "told.npz"
        with np.load(draw.path) as rows:
            np.savez(data, **rows, x_valid=rows["x_test"][:WATCHED], y_valid=rows["y_test"][:WATCHED])
        if way.pseudo:
            pseudo = PseudoLabels(way.pseudo[0], self.unlabelled(), int(way.pseudo[1]))
            ckpttool.finetune_in_rounds(start, data, path, options, pseudo, True)
        else:
            ckpttool.finetune(start, data, path, options, True)
        found = ckpttool.evaluate(Model.open(path), data, "test").accuracy
        assert found is not None
        return found


def cells(task: Task, seeds: int, labels: Sequence[int]) -> Iterator[tuple[Way, int, int]]:
    """Yield what must be trained: fewest labels first, draw by draw."""
    for number in labels:
        for seed in range(seeds):
            yield from ((way, number, seed) for way in task.ways)


def results(rows: Rows, folder: Path, task: Task, seeds: int, labels: Sequence[int]) -> list[dict[str, Any]]:
    """Train what is missing in the folder, and return all results."""
    study, kept = Study(rows, folder, task), folder / task.slug / "results.jsonl"
    study.place.mkdir(parents=True, exist_ok=True)
    known = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(each["way"], each["labels"], each["seed"]) for each in known}
    for way, number, seed in cells(task, seeds, labels):
        if (way.slug, number, seed) in done:
            continue
        begun, result = time.monotonic(), study.accuracy(way, study.draw(number, seed))
        told = {"task": task.slug, "way": way.slug, "labels": number, "seed": seed, **result}
        known.append({**told, "seconds": round(time.monotonic() - begun, 1)})
        print(json.dumps(known[-1]), flush=True)
        with kept.open("a") as file:
            file.write(json.dumps(known[-1]) + "\n")
    return known


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("mnist", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--labels", type=int, nargs="*", default=list(EPOCHS))
    parser.add_argument("--tasks", nargs="*", default=[task.slug for task in TASKS])
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    ckpttool.configure_tensorflow(convolutions=True)
    summaries = {}
    for name, path in {"MNIST": asked.mnist, "Fashion-MNIST": asked.fashion}.items():
        if path is None:
            continue
        with np.load(path, allow_pickle=False) as arrays:
            rows = dict(arrays)
        chosen = [task for task in TASKS if task.slug in asked.tasks]
        found = [results(rows, asked.folder / name, task, asked.seeds, asked.labels) for task in chosen]
        summaries[name] = summary([each for of_task in found for each in of_task])
        draw(summaries[name], name, asked.folder / f"{name}.png")
    if asked.keep:
        FIGURES.write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")
        for name in summaries:
            (DOCS / PICTURES[name]).write_bytes((asked.folder / f"{name}.png").read_bytes())


if __name__ == "__main__":
    main()
