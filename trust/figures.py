"""Run the attacks, two at a time, and store their results in figures.json, from which `make docs` makes the tables.

By default only a part of each grid is tried, which takes some minutes in total; with `--full` the whole grid, which
takes hours. Results of a whole grid are kept next to later ones of a part. The exit code is 1 if something was bad.

    python trust/figures.py [--full] [--jobs N] [SCRIPT ...]
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT = HERE / "figures.json"
PACKAGES = ("ckpttool", "tensorflow", "tensorflow-cpu", "keras", "numpy", "h5py")
Figure = dict[str, Any]


@dataclass(frozen=True)
class Attack:
    """A script, and its arguments for a part of its grid and for all of it."""

    script: str
    part: str = ""
    full: str = ""
    always: str = ""

    def run(self, full: bool) -> list[Figure]:
        """Return the script's results, printed as its last line; a script without them is bad."""
        given = [*self.always.split(), *(self.full if full else self.part).split()]
        start = time.monotonic()
        ended = subprocess.run(
            [sys.executable, str(HERE / self.script), *given],
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | {"PYTHONPATH": str(HERE.parent), "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=False,
        )
        seconds = round(time.monotonic() - start)
        lines = ended.stdout.splitlines()
        print(f"== {' '.join([self.script, *given])}: {seconds} s", *lines[-20:], sep="\n", flush=True)
        try:
            printed = json.loads(lines[-1])
        except (IndexError, json.JSONDecodeError):
            print(ended.stderr[-2000:], flush=True)
            printed = {
                "figure": self.script,
                "tried": 0,
                "bad": 1,
                "note": f"ended with {ended.returncode}, and no figure",
            }
        about = {"script": self.script, "given": " ".join(given), "seconds": seconds, "whole": full or not self.part}
        return [{**each, **about, "date": _today()} for each in (printed if isinstance(printed, list) else [printed])]


ATTACKS = [
    Attack("kills.py", part="--every 20"),
    Attack("hostile_graphs.py", part="--seconds 120"),
    Attack("kills.py", part="--every 25", always="--tensorflow"),
    Attack("tensorflow_itself.py", part="--every 10"),
    Attack("unsynced.py", part="--every 15"),
    Attack("races.py", part="--rounds 200"),
    Attack("crafted.py", part="--every 3"),
    Attack("odd_values.py", part="--every 5"),
    Attack("flips.py", part="--every 40"),
    Attack("servers.py", part="--every 5"),
    Attack("resumed.py", part="--points 6", full="--points 200"),
    Attack("fuzz.py", part="--seconds 2", full="--atheris --seconds 600"),
    Attack("mutations.py", part="--every 6 --seconds 60"),
    Attack("acting_models.py", part="--every 5"),
    Attack("zoo_kills.py", part="--every 20 --points 10 --rounds 30"),
]
"""The slowest first. The options of a part bound the grid."""


def found(full: bool, jobs: int, names: list[str]) -> Iterator[list[Figure]]:
    """Run the attacks, some in parallel; yield the results of each when it ends."""
    chosen = [each for each in ATTACKS if not names or each.script in names or each.script.removesuffix(".py") in names]
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed(pool.submit(attack.run, full) for attack in chosen):
            yield done.result()


def keep(new: list[Figure]) -> None:
    """Add results to the stored ones, so that an interrupted run keeps what it has found."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {"figures": []}
    figures = merged(kept["figures"], [each for each in new if each["tried"]])
    content = {"date": _today(), "machine": machine(), "figures": figures}
    KEPT.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def merged(old: list[Figure], new: list[Figure]) -> list[Figure]:
    """Return results in which new ones replace old ones of the same grids, whole or in part.

    >>> part, whole = {"figure": "a", "whole": False, "tried": 1}, {"figure": "a", "whole": True, "tried": 9}
    >>> merged([whole, part], [part | {"tried": 2}])
    [{'figure': 'a', 'whole': True, 'tried': 9}, {'figure': 'a', 'whole': False, 'tried': 2}]
    """

    def key(figure: Figure) -> tuple[Any, ...]:
        return figure["figure"], figure.get("of"), figure["whole"]

    known = {key(each): each for each in old} | {key(each): each for each in new}
    return list(known.values())


def machine() -> dict[str, Any]:
    """Return a description of the machine of the results."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "python": platform.python_version(),
        "versions": versions,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30),
    }


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def main() -> int:
    """Run the given attacks, store the results, and return whether something was bad."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scripts", nargs="*", help="only these attacks")
    parser.add_argument("--full", action="store_true", help="the whole grids, in hours")
    parser.add_argument("--jobs", type=int, default=2, help="how many run beside one another")
    asked = parser.parse_args()
    start = time.monotonic()
    figures = []
    for each in found(asked.full, asked.jobs, asked.scripts):
        keep(each)
        figures += each
    bad = [each for each in figures if each["bad"] and "of" not in each]
    print(f"{len(figures)} figures in {time.monotonic() - start:.0f} s, {len(bad)} of them bad", flush=True)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
