"""The chapter's question, how much of a network to reuse, answered on MNIST: the figures of docs/how-much-to-reuse.md.

    python benchmarks/how_much_to_reuse.py mnist.npz FOLDER [--fashion fashion-mnist.npz] [--keep]

The page's commands are run in order in FOLDER, in which their input files are made. Existing files are not made again,
so an interrupted run can be resumed. With `--keep` the figures are stored in docs/, from which `make docs` makes the
tables, and the pictures next to them. Commands for Fashion-MNIST run if its file is given (an `.npz` in Keras's
format), those for scikit-learn's digits if it is installed.
"""

import json
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from chapter11 import commands_in
from numpy.typing import NDArray

DOCS = Path(__file__).parent.parent / "docs"
PAGE = DOCS / "how-much-to-reuse.md"
FIGURES = DOCS / "how-much-to-reuse.json"
PICTURES = {"judged.png": "how-much-to-reuse.png", "trunk_judged.png": "how-much-to-reuse-keras.png"}
"""Pictures on the page, by the names that its commands give them."""
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
JUDGED = 3000
"""Number of labelled rows that only judge, so that the page can tell the true accuracy."""
FIELDS = ("keep", "freeze", "accuracy", "low", "high", "blocks", "state", "what")
Rows = Mapping[str, NDArray[Any]]


def written(folder: Path, mnist: Path, fashion: Path | None) -> None:
    """Write the data files that the page's commands read."""
    with np.load(mnist, allow_pickle=False) as arrays:
        digits = dict(arrays)
    few = of_classes(digits, 5, 10)
    many = judged(few)
    order = np.random.default_rng(0).permutation(28 * 28)
    mixed = {name: rows.reshape(-1, 28 * 28)[:, order] if name[0] == "x" else rows for name, rows in many.items()}
    files = {"zero_to_four": of_classes(digits, 0, 5), "five_to_nine": few, "judged": many, "mixed": mixed}
    if find_spec("sklearn"):
        files["scanned"] = scanned()
    if fashion is not None:
        with np.load(fashion, allow_pickle=False) as arrays:
            clothes = dict(arrays)
        files |= {"fashion": clothes, "fashion_judged": judged(clothes)}
        files |= {"mnist": digits, "mnist_judged": judged(digits)}
    for name, rows in files.items():
        np.savez(folder / f"{name}.npz", **rows)  # type: ignore[arg-type]


def of_classes(rows: Rows, first: int, end: int) -> Rows:
    """Return the rows of some classes, with labels starting at 0."""
    taken = {split: (rows[f"y_{split}"] >= first) & (rows[f"y_{split}"] < end) for split in ("train", "test")}
    labels = {f"y_{split}": rows[f"y_{split}"][which] - first for split, which in taken.items()}
    return {f"x_{split}": rows[f"x_{split}"][which] for split, which in taken.items()} | labels


def judged(rows: Rows) -> Rows:
    """Return the rows with the last training rows as validation rows."""
    held = {f"{one}_valid": rows[f"{one}_train"][-JUDGED:] for one in "xy"}
    return {**rows, **held, **{f"{one}_train": rows[f"{one}_train"][:-JUDGED] for one in "xy"}}


def scanned() -> Rows:
    """Return scikit-learn's digits (8 x 8 pixels, another scanner) in MNIST's size."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8) * 255 / 16, np.ones((3, 3)))
    rows = np.pad(large, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    return {"x_train": rows[:1000], "y_train": labels[:1000], "x_test": rows[1000:], "y_test": labels[1000:]}


def blocks(page: Path) -> Iterator[list[list[str]]]:
    """Yield the commands of each block of a page, or the program in it, in order."""
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "sh":
            yield [[sys.executable, "-m", *words] for words in commands_in(block)]
        else:
            yield [[sys.executable, "-c", block]]


def runs_here(block: list[list[str]], folder: Path) -> bool:
    """Return whether the data files of a block's commands exist."""
    named = re.findall(r"[\w-]+\.npz", " ".join(word for words in block for word in words))
    return all((folder / name).exists() for name in named)


def run(words: list[str], folder: Path) -> None:
    """Run a step, unless its output exists; store the output of a search."""
    made = words[words.index("-o") + 1] if "-o" in words else re.findall(r'save\("(.*?)"\)', words[-1])[0]
    searches = "search" in words
    done = folder / (f"{made}.json" if searches else made)
    if done.exists() or done.with_name(f"{made}.index").exists():
        return
    print(made, flush=True)
    again = ["--overwrite", "--json"] if searches else []
    printed = subprocess.run([*words, *again], check=True, cwd=folder, stdout=subprocess.PIPE, text=True).stdout
    if searches:
        done.write_text(printed)


def figures(folder: Path) -> dict[str, Any]:
    """Return the page's figures of the searches in a folder."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        whole = json.loads(path.read_text())
        if not whole.get("curve"):
            continue
        found[path.name.partition(".")[0]] = [point(one) for one in whole["curve"]]
    return found


def point(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a search's result for a number of rows, with the accuracy on rows that did not select, if any."""
    rows = [{name: rounded(each[name]) for name in FIELDS} for each in found["configurations"]]
    facts = {name: rounded(found[name]) for name in ("rows", "recommended", "accuracy", "low", "high") if name in found}
    return {**facts, "configurations": rows}


def rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("mnist", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    asked.folder.mkdir(exist_ok=True, parents=True)
    written(asked.folder, asked.mnist, asked.fashion)
    for block in blocks(PAGE):
        for words in block if runs_here(block, asked.folder) else ():
            run(words, asked.folder)
    if asked.keep:
        FIGURES.write_text(json.dumps(figures(asked.folder), indent=1) + "\n", encoding="utf-8")
        for name, shown in PICTURES.items():
            (DOCS / shown).write_bytes((asked.folder / name).read_bytes())


if __name__ == "__main__":
    main()
