"""Runs that are killed at random and resumed: the final outputs equal those of an uninterrupted run, byte for byte.

Each trial is a fork, made after TensorFlow is imported: a command is killed at a random time, or at a random one of its
calls that change files (every second trial), in every third trial once more after it was resumed, and then given again
as its user would: with `--resume` if there are saves. It must not be refused, leave nothing else, and end with the same
weights, graph, report, features and study.

    python trust/resumed.py [--points N] [--seed N] [RUN ...]
"""

import argparse
import contextlib
import gc
import hashlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from attacked_commands import make_inputs, run, show
from faults import Faults

from ckpttool.data import feature_writer
from ckpttool.formats.wire import checked_json

USED = (
    "tensorflow", "keras", "ckpttool.verbs.finetune", "ckpttool.verbs.cache", "ckpttool.verbs.search",
    "ckpttool.verbs.pretrain", "ckpttool.runtime.pretraining.autoencoder", "ckpttool.runtime.pretraining.rbm",
    "ckpttool.runtime.build", "ckpttool.runtime.epochs", "ckpttool.searching.trials",
)  # fmt: skip
"""Modules that a run imports: they are imported before the fork."""
OF_ITS_TIME = {"seconds", "date", checked_json.CHECKSUM, "checksum"}
"""What differs between two runs of one command: dates, durations, and the checksums of these."""
MANY = 100
"""How often the few rows are repeated for a fill."""
GOES_ON = "--resume"
LOGS = (".study-wal", ".study-shm")
"""SQLite's logs beside a study, with which its rows are read."""
SMALL = 1 << 10
"""Bytes after which a fill is synced, in place of 64 MB, so that one of a few rows has several steps."""


@dataclass(frozen=True)
class Attacked:
    """A slow command, the condition on which it is resumed (a state in `saves`), and its share of kills."""

    name: str
    line: str
    saves: str | None = None
    share: int = 10

    def argv(self) -> list[str]:
        """Return the command line in the present folder."""
        goes_on = self.saves is not None and any(Path(self.saves).glob("*"))
        return [*self.line.split(), *([GOES_ON] if goes_on else [])]


TRAIN = "finetune full.ckpt --data rows.npz --freeze hidden[12] --threads 1 --batch-size 5 --optimizer adam --trust"
PRETRAIN = (
    "pretrain --data rows.npz --input 784 --layers a=dense(6,sigmoid);b=dense(4,sigmoid) --epochs 2 --threads 1 --trust"
)
RUNS = [
    Attacked("finetune", f"{TRAIN} --epochs 3 -o out.ckpt"),
    Attacked("finetune, saves", f"{TRAIN} --epochs 6 --save-every 4steps -o out.ckpt", "out.ckpt.saves"),
    Attacked(
        "finetune --cache, saves",
        f"{TRAIN} --epochs 6 --save-every 4steps --cache --cache-dir cached -o out.ckpt",
        "out.ckpt.saves",
    ),
    Attacked("cache", "cache full.ckpt --data many.npz --freeze hidden[12] --cache-dir cached --trust"),
    Attacked(
        "search",
        "search full.ckpt --data rows.npz --head o=dense(10) --epochs 1 --seeds 1 --folds 2 --keep 1 --optimizer sgd"
        " --threads 1 --trust -o best.ckpt",
        share=2,
    ),
    Attacked("pretrain", f"{PRETRAIN} --method autoencoder -o out.ckpt", "out.ckpt.stages", share=10),
    Attacked(
        "pretrain, saves",
        f"{PRETRAIN} --method autoencoder(noise=mask(0.3)) --end-to-end --save-every 2steps -o out.ckpt",
        "out.ckpt.stages",
        share=10,
    ),
]


class Trials:
    """The trials of one run in a folder, compared with the output of an uninterrupted run."""

    def __init__(self, attacked: Attacked, inputs: Path, chance: random.Random) -> None:
        """Run twice without interruption: measure the time, and check that both outputs are equal."""
        self._attacked, self._inputs, self._chance = attacked, inputs, chance
        self._work = inputs.with_name("work")
        self._log = inputs.with_name("said")
        self.calm: dict[str, str] = {}
        for _ in range(2):
            self._fresh()
            begin = time.monotonic()
            if (code := self._ended(self._start(Faults()))) != 0:
                raise SystemExit(f"{attacked.name} ended with {code}: {self._log.read_text()}")
            self.seconds = time.monotonic() - begin
            self.calls = int(self._log.with_name("calls").read_text())
            there = left_in(self._work)
            if self.calm and (differing := different(self.calm, there)):
                raise SystemExit(f"{attacked.name}: two runs left alone differ in {', '.join(differing)}")
            self.calm = there

    def trial(self, twice: bool, at_call: bool) -> Iterator[str]:
        """Kill the run, once or twice; resume it, and yield what is bad about how it ends and what it leaves."""
        self._fresh()
        self.at: list[str] = []
        for _ in range(2 if twice else 1):
            self.at.append(self._killed_at_call() if at_call else self._killed_at_time())
        code = self._ended(self._start())
        said = self._log.read_text()
        there = left_in(self._work)
        differing = different(self.calm, there)
        if code and not ("exists already" in said and not differing):
            yield f"refused: {said.strip().splitlines()[-1]}"
        if others := [name for name in differing if name not in self.calm]:
            yield f"left: {', '.join(others)}"
        if others := [name for name in differing if name in self.calm]:
            yield f"other: {', '.join(others)}"

    def _killed_at_time(self) -> str:
        moment, child = self._chance.uniform(0, self.seconds), self._start()
        time.sleep(moment)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        return f"{moment:.2f} s{'' if self._ended(child) else ', done by then'}"

    def _killed_at_call(self) -> str:
        number = self._chance.randint(1, self.calls)
        return f"call {number}{'' if self._ended(self._start(Faults(number))) else ', done by then'}"

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._work)

    def _fresh(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._inputs, self._work)

    def _start(self, faults: Faults | None = None) -> int:
        """Start the command in a fork, killed at one of its calls if `faults` say so; return its process id."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        code = 99
        try:
            os.setpgid(0, 0)
            os.chdir(self._work)
            feature_writer.DURABLE_EVERY = SMALL
            with faults.active() if faults else contextlib.nullcontext():
                code, said = run(self._attacked.argv())
            self._log.write_text(said)
            if faults:
                self._log.with_name("calls").write_text(str(faults.count))
        finally:
            os._exit(code)

    @staticmethod
    def _ended(child: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left_in(folder: Path) -> dict[str, str]:
    """Return the names of all files in a folder, with hashes of their content without times and `--resume`."""
    return {
        _plain(str(path.relative_to(folder))): hashlib.md5(content(path)).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(LOGS)
    }


def content(path: Path) -> bytes:
    """Return the content of a file without its dates and durations."""
    if path.suffix == ".study":
        return _rows(path)
    data = path.read_bytes()
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(data)), sort_keys=True).encode()
    if path.name.endswith(".history.csv"):
        head, *lines = [line.split(",") for line in data.decode().splitlines()]
        kept = [place for place, name in enumerate(head) if name not in OF_ITS_TIME]
        return "\n".join(",".join(line[place] for place in kept) for line in [head, *lines]).encode()
    return data


def different(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the names that only one has, or whose hashes differ."""
    return sorted(name for name in {**one, **other} if one.get(name) != other.get(name))


def _plain(name: str) -> str:
    """Return a name without the number of shards, which may differ after a kill."""
    return re.sub(r"-\d+-of-\d+$", "-of", name)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if key not in OF_ITS_TIME}
    return [_timeless(each) for each in value if each != GOES_ON] if isinstance(value, list) else value


def _rows(study: Path) -> bytes:
    """Return the rows of a study's tables without the columns that contain times."""
    with contextlib.closing(sqlite3.connect(f"file:{study}?mode=ro", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = []
        for name in sorted(names):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({name})") if row[1] not in OF_ITS_TIME]
            found.append([name, sorted(map(repr, database.execute(f"SELECT {', '.join(columns)} FROM {name}")))])
    return json.dumps(found).encode()


def main() -> int:
    """Run the trials, print a table, and return whether anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("only", nargs="*", help="runs whose names contain one of these")
    parser.add_argument("--points", type=int, default=20, help="moments at which runs are killed, in all")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    chosen = [each for each in RUNS if not options.only or any(word in each.name for word in options.only)]
    chance, bad, tried = random.Random(options.seed), Counter[str](), 0
    for module in USED:
        importlib.import_module(module)
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        os.environ["XDG_STATE_HOME"] = os.environ["XDG_CACHE_HOME"] = f"{folder}/state"
        inputs = Path(folder, "inputs")
        inputs.mkdir()
        make_inputs(inputs)
        rows = np.load("rows.npz")
        many: dict[str, Any] = {name: np.tile(rows[name], (MANY, *[1] * (rows[name].ndim - 1))) for name in rows}
        np.savez("many.npz", **many)
        os.chdir("/")
        gc.freeze()
        show(f"{'run':26} seconds  kills  bad")
        for attacked in chosen:
            trials, kills, found = Trials(attacked, inputs, chance), 0, Counter[str]()
            part = -(-options.points * attacked.share // sum(each.share for each in chosen))
            trial = 0
            while kills < part:
                twice, trial = kills % 3 == 2 and kills + 1 < part, trial + 1
                for problem in trials.trial(twice, at_call=trial % 2 == 1):
                    found[problem.partition(":")[0]] += 1
                    show(f"  killed after {' and '.join(trials.at)}: {problem}")
                kills += 2 if twice else 1
            trials.close()
            bad, tried = bad + found, tried + kills
            show(f"{attacked.name:26} {trials.seconds:7.1f} {kills:6} {found.total():4}")
    note = str(dict(bad) or "the same bytes, nothing left or refused")
    show(json.dumps({"figure": "runs killed and resumed", "tried": tried, "bad": bad.total(), "note": note}))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
