"""A search that is killed at 50 random points and run again each time, compared with an uninterrupted one.

    python benchmarks/bench_search_kills.py [--kills 50] [--seed 0]

Each time the command starts from nothing, is killed (SIGKILL) at a random moment of its duration, and is run again.
The recommendation, all trials, the written weights and the remaining files must equal those of the uninterrupted
search, except for the log of the study, which SQLite merges when it is opened again; and the trials that existed at the
kill must be unchanged, seconds included, so none is run again. TensorFlow is imported before a command starts, by the
process that forks it.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import ckpttool

Trials = dict[tuple[int, ...], tuple[Any, ...]]
COMMAND = (
    "search net.ckpt --data rows.npz --keep 1 --optimizer adam(0.02) --epochs 4 --seeds 1 --folds 3 --rope 3 --json"
)
OVER = "when it was over"
"""The kill came too late: not counted."""
OUT, ANSWER = "best.ckpt", "answer.json"


@dataclass(frozen=True)
class Left:
    """The results of a search: its trials, its output, and the tensors of the model that it writes."""

    trials: Trials
    said: dict[str, Any]
    weights: dict[str, bytes]
    files: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> "Left":
        """Read them."""
        said = json.loads((folder / ANSWER).read_text())
        said = {name: said[name] for name in ("recommended", "tied", "held_out", "ended")}
        weights = {name: tensor.read().tobytes() for name, tensor in ckpttool.open(folder / OUT).items()}
        every = (path for path in folder.rglob("*") if "cache" not in path.parts)
        files = sorted(str(path.relative_to(folder)) for path in every if not path.name.endswith(("-wal", "-shm")))
        return cls(trials_of(folder), said, weights, tuple(files))


def trials_of(folder: Path) -> Trials:
    """Return the trials of a study, from a copy of it, because reading would change the file."""
    with tempfile.TemporaryDirectory() as name:
        for path in folder.glob(f"{OUT}.study*"):
            shutil.copy(path, name)
        connection = sqlite3.connect(Path(name) / f"{OUT}.study")
        try:
            columns = "keep, freeze, seed, fold, state, accuracy, correct, seconds"
            rows = connection.execute(f"SELECT {columns} FROM trials").fetchall()
        except sqlite3.OperationalError:  # no tables yet
            rows = []
        finally:
            connection.close()
    return {row[:4]: row[4:] for row in rows}


def command(folder: str) -> None:
    """Run the command in a folder, in its own process."""
    os.chdir(folder)
    logging.getLogger("tensorflow").setLevel("ERROR")  # as when ckpttool itself imports TensorFlow
    with Path(ANSWER).open("w") as out, Path(os.devnull).open("w") as nowhere:
        sys.stdout, sys.stderr = out, nowhere
        from ckpttool.cli import main

        words = [
            *COMMAND.split(),
            "--head",
            "new = dense(2)",
            "--on",
            "here",
            "--cache-dir",
            "cache",
            "-o",
            OUT,
        ]
        main(words, standalone_mode=True)


def begun(context: Any, folder: Path) -> Any:
    process = context.Process(target=command, args=(str(folder),))
    process.start()
    return process


def prepared(source: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in source.iterdir():
        shutil.copy(path, folder)
    return folder


def write_problem(folder: Path) -> None:
    """Write a network of two layers, and rows of two classes."""
    folder.mkdir()
    rows = np.random.default_rng(0).normal(size=(360, 6)).astype(np.float32)
    labels = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0).astype(np.int64)
    np.savez(
        folder / "rows.npz",
        x_train=rows[:180],
        y_train=labels[:180],
        x_test=rows[180:],
        y_test=labels[180:],
    )
    ckpttool.new(
        [6],
        "one = dense(8, relu); two = dense(4, relu); outputs = dense(3)",
        folder / "net.ckpt",
    )


def problems(expected: Left, before: Trials, found: Left) -> list[str]:
    """Return the differences to the expected results after the second run."""
    same = {key: values[:-1] for key, values in found.trials.items()} == {
        key: values[:-1] for key, values in expected.trials.items()
    }
    checks = {
        "another answer": found.said == expected.said,
        "other trials": same,
        "trials run twice": all(found.trials.get(key) == values for key, values in before.items()),
        "other weights": found.weights == expected.weights,
        f"files left: {set(found.files) ^ set(expected.files)}": found.files == expected.files,
    }
    return [what for what, holds in checks.items() if not holds]


def killed(context: Any, folder: Path, expected: Left, after: float) -> tuple[str, list[str]]:
    """Kill a search after some seconds and run it again; return its progress, and what is wrong."""
    process = begun(context, folder)
    process.join(after)
    ended = process.exitcode is not None
    if not ended:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    before, is_written = trials_of(folder), (folder / f"{OUT}.meta").exists()
    where = f"with {len(before)} of {len(expected.trials)} trials" if before else "before the first trial"
    where = OVER if ended else "when the model was there" if is_written else where
    if not (ended or is_written):
        again = begun(context, folder)
        again.join()
        if again.exitcode:
            return where, [f"the same command ended with {again.exitcode}"]
    elif not (folder / ANSWER).read_text():  # killed between the last file and the output
        (folder / ANSWER).write_text(json.dumps(expected.said))
    return where, problems(expected, before, Left.of(folder))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--kills", type=int, default=50)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    ckpttool.configure_tensorflow()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "ckpttool.cli"])
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source"
        write_problem(source)
        seconds = []
        for number in range(2):  # the first one starts the fork server
            whole = prepared(source, Path(name) / f"whole{number}")
            began = time.perf_counter()
            begun(context, whole).join()
            seconds.append(time.perf_counter() - began)
        expected, drawn = Left.of(whole), random.Random(given.seed)
        answer = expected.said["recommended"]
        print(
            f"left alone: {len(expected.trials)} trials in {seconds[-1]:.1f} s, {answer}",
            flush=True,
        )
        places, hurt = Counter[str](), set[int]()
        number = 0
        while places.total() < given.kills:
            number += 1
            folder = prepared(source, Path(name) / f"killed{number}")
            where, found = killed(context, folder, expected, drawn.uniform(0, seconds[-1]))
            if where != OVER:
                places[where] += 1
            hurt |= {number} if found else set()
            told = ", ".join(found) or "as if it had not been"
            print(f"  {places.total():2d}: killed {where}: {told}", flush=True)
            shutil.rmtree(folder)
        for where, count in sorted(places.items()):
            print(f"killed {where:<28} {count:3d}")
        print(f"as if it had been left alone: {given.kills - len(hurt)} of {given.kills}, goal all")


if __name__ == "__main__":
    main()
