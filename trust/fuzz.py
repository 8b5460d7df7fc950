"""Fuzzing of each parser for a time, its checksums mended after each change; what was found is kept.

Run as: python trust/fuzz.py [--seconds N] [--seed N] [TARGET ...]. With atheris (a package for development) the changes
are led by coverage; else they are random, and start from what was reached last.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import samples

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "formats"))
from fuzzing import TARGETS, Target, mutated, tried

KEPT = Path(__file__).parent / "corpus"
SLOW = 10


def fuzzed(name: str, target: Target, seconds: float, seed: int, folder: Path) -> tuple[int, int]:
    """Try changes of a target's seed, and of what came of them, for a time; return how many, and how many were bad."""
    chance, tries, bad = random.Random(f"{name} {seed}"), 0, 0
    pool, end = (
        [target.seed, *(path.read_bytes() for path in sorted(KEPT.glob(f"{_slug(name)}-*")))],
        time.time() + seconds,
    )
    while time.time() < end:
        part = mutated(chance.choice(pool), chance)
        start = time.process_time()
        found = tried(target, folder, part)
        if found is None and time.process_time() - start > SLOW:
            found = f"{time.process_time() - start:.0f} seconds"
        tries += 1
        if found:
            bad += 1
            _keep(name, part, found)
        elif chance.random() < 0.02:  # go on from here: what is read still leads deeper
            pool = [*pool[:200], part]
    return tries, bad


def led(target: Target, seconds: float, folder: Path) -> None:
    """Have atheris make the parts; it ends with the first that is bad, and prints it."""
    import atheris

    def one(part: bytes) -> None:
        if found := tried(target, folder, part):
            raise RuntimeError(found)

    atheris.instrument_all()
    (folder / "seeds").mkdir()
    (folder / "seeds" / "seed").write_bytes(target.seed)
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", str(folder / "seeds")], one)
    atheris.Fuzz()


def _keep(name: str, part: bytes, found: str) -> None:
    KEPT.mkdir(exist_ok=True)
    place = KEPT / f"{_slug(name)}-{hash(part) & 0xFFFFFFFF:08x}"
    place.write_bytes(part)
    print(f"  bad: {name}: {found[:150]}; kept as {place}")


def _slug(name: str) -> str:
    return name.replace(" ", "_")


def main() -> None:
    """Fuzz all targets, or those that are named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--atheris", action="store_true", help="for one target, led by coverage")
    parser.add_argument("names", nargs="*", default=list(TARGETS))
    asked, all_tries, all_bad = parser.parse_args(), 0, 0
    for name in asked.names:
        with tempfile.TemporaryDirectory(dir=samples.folder()) as folder:
            if asked.atheris:
                led(TARGETS[name], asked.seconds, Path(folder))
            tries, bad = fuzzed(name, TARGETS[name], asked.seconds, asked.seed, Path(folder))
        print(f"{name:30} {tries:8} tried {bad:4} bad", flush=True)
        all_tries, all_bad = all_tries + tries, all_bad + bad
    print(f"fuzzing: {all_tries} tried, {all_bad} bad (seed {asked.seed})")
    sys.exit(bool(all_bad))


if __name__ == "__main__":
    main()
