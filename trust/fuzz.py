"""Fuzzing of each parser for a time, with checksums repaired after each change; interesting inputs are kept.

Run as: python trust/fuzz.py [--seconds N] [--seed N] [--atheris [--seeds FOLDER]] [TARGET ...]. With atheris (the extra
`fuzz`), the changes are guided by coverage, and seconds are CPU time; else they are random, and start from inputs of
earlier runs. Inputs that reach new lines, and failing ones, are kept in `trust/corpus`, which a test reads again.
atheris's own corpus is in the folder of seeds, from which a later run continues.
"""

import argparse
import base64
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import samples
from crafting import MEGABYTES, SECONDS, fresh_peak, peak

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "formats"))
import fuzzing

import ckpttool

MOST, LONGEST = 40, 3000
"""The maximum number of inputs that are kept of a target, and their maximum size in bytes."""
OURS = str(Path(ckpttool.__file__).parent)
Lines = set[tuple[str, int]]


class Fuzzed(NamedTuple):
    """The number of inputs tried, the failing ones, and the number of edges of the code reached, if known."""

    tries: int
    bad: list[bytes]
    edges: int | None = None


def fuzzed(name: str, seconds: float, seed: int, folder: Path) -> Fuzzed:
    """Try random changes of a target's seed and kept inputs for a time."""
    target, chance, tries, bad = fuzzing.TARGETS[name], random.Random(f"{name} {seed}"), 0, list[bytes]()
    pool, end = [target.seed, *fuzzing.kept(name)], time.time() + seconds
    while time.time() < end:
        part = fuzzing.mutated(chance.choice(pool), chance)
        tries += 1
        if found := judged(target, folder, part):
            bad.append(part)
            print(f"  bad: {name}: {found[:150]}", flush=True)
        elif chance.random() < 0.02:  # continue from this one: valid inputs lead deeper
            pool = [*pool[:200], part]
    return Fuzzed(tries, bad)


def judged(target: fuzzing.Target, folder: Path, part: bytes) -> str | None:
    """Read an input, and return the failure (its kind, a colon, details), or None."""
    before, start = fresh_peak(), time.process_time()
    found: str | None = fuzzing.tried(target, folder, part)
    seconds, megabytes = time.process_time() - start, (peak() - before) / 1024
    if not found and seconds > SECONDS:
        return f"slow: {seconds:.0f} seconds"
    if not found and megabytes > MEGABYTES:
        return f"large: {megabytes:.0f} MB"
    return found


def led(name: str, seconds: float, folder: Path, seeds: Path) -> Fuzzed:
    """Run atheris in a separate process, and keep the inputs that reach new lines."""
    script = str(Path(__file__).parent / "fuzz_led.py")
    done = subprocess.run(
        [sys.executable, script, name, str(int(seconds)), str(folder), str(seeds)],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )
    bad = [path.read_bytes() for path in sorted((folder / "bad").glob("*"))]
    tries = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    if tries is None and not bad:
        print(done.stderr[-2000:])
        raise SystemExit(f"{name}: atheris did not get to its end")
    for line in re.findall("^bad: .*", done.stderr, re.MULTILINE):
        print(f"  {name} {line}", flush=True)
    reached(name, [path.read_bytes() for path in sorted(seeds.iterdir())], folder)
    edges = re.findall(r" cov: (\d+) ", done.stderr)
    return Fuzzed(int(tries[1]) if tries else 0, bad, int(edges[-1]) if edges else None)


def reached(name: str, parts: list[bytes], folder: Path) -> None:
    """Keep the inputs that reach lines of our code that shorter ones do not reach."""
    target, lines, new = fuzzing.TARGETS[name], Lines(), list[bytes]()
    for part in [target.seed, *fuzzing.kept(name)]:
        lines |= _lines_of(target, folder, part)
    for part in sorted(parts, key=len):
        if len(part) <= LONGEST and (more := _lines_of(target, folder, part) - lines):
            lines |= more
            new.append(part)
    keep(name, new)


def _lines_of(target: fuzzing.Target, folder: Path, part: bytes) -> Lines:
    lines = Lines()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        fuzzing.tried(target, folder, part)
    finally:
        sys.settrace(None)
    return lines


def keep(name: str, parts: list[bytes]) -> None:
    """Add inputs to those that are kept of a target."""
    known = fuzzing.kept(name)
    new = [part for part in dict.fromkeys(parts) if part not in known][: max(0, MOST - len(known))]
    if new:
        fuzzing.KEPT.mkdir(exist_ok=True)
        with (fuzzing.KEPT / f"{name.replace(' ', '_')}.txt").open("ab") as file:
            file.writelines(base64.b64encode(part) + b"\n" for part in new)


def main() -> None:
    """Fuzz all targets, or the named ones."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--atheris", action="store_true", help="led by coverage, where atheris is installed")
    parser.add_argument("--seeds", type=Path, help="where what leads on is kept, a folder for each target")
    parser.add_argument("names", nargs="*", default=list(fuzzing.TARGETS))
    asked, all_tries, all_bad = parser.parse_args(), 0, 0
    leads = asked.atheris and find_spec("atheris") is not None
    for name in asked.names:
        with tempfile.TemporaryDirectory(dir=samples.folder()) as folder:
            place = Path(folder)
            if leads:
                found = led(name, asked.seconds, place, (asked.seeds or place / "seeds") / name)
            else:
                found = fuzzed(name, asked.seconds, asked.seed, place)
        keep(name, [part for part in found.bad if len(part) <= 10 * LONGEST])
        edges = f" {found.edges:6} edges" if found.edges else ""
        print(f"{name:30} {found.tries:8} tried {len(found.bad):4} bad{edges}", flush=True)
        all_tries, all_bad = all_tries + found.tries, all_bad + len(found.bad)
    how = "led by coverage" if leads else f"changes at random, seed {asked.seed}"
    note = f"{len(asked.names)} parsers, {asked.seconds:g} s each, {how}"
    print(json.dumps({"figure": "fuzzing", "tried": all_tries, "bad": all_bad, "note": note}))
    sys.exit(bool(all_bad))


if __name__ == "__main__":
    main()
