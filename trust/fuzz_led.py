"""Fuzzing of one target, guided by coverage of ckpttool's code; requires atheris.

Run by `trust/fuzz.py --atheris` as: python trust/fuzz_led.py TARGET SECONDS FOLDER SEEDS. FOLDER/bad contains failing
inputs, one for each kind of error, and SEEDS the corpus.
"""

import os
import signal
import sys
import time
from pathlib import Path

import atheris

NAME, SECONDS, FOLDER, SEEDS = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4])
WORK, BAD = FOLDER / "work", FOLDER / "bad"
for place in (WORK, BAD, SEEDS):
    place.mkdir(parents=True, exist_ok=True)
SLOWEST = 20
"""The ratio of wall time to CPU time that is allowed, for busy machines."""
with atheris.instrument_imports(include=["ckpttool"]):
    import fuzz
    import fuzzing

    TARGET = fuzzing.TARGETS[NAME]
    PARTS = [TARGET.seed, *fuzzing.kept(NAME)]
    for part in PARTS:  # modules that are imported on first use must be instrumented, too
        fuzz.judged(TARGET, WORK, part)


def main() -> None:
    """Fuzz until the CPU time is used up; then SIGUSR1 makes libFuzzer end the process."""
    end = time.process_time() + SECONDS
    for number, part in enumerate(PARTS):
        (SEEDS / f"kept{number}").write_bytes(part)
    seen: set[str] = set()

    def one(part: bytes) -> None:
        found = fuzz.judged(TARGET, WORK, part)
        kind = (found or "").partition(": ")[0]
        if found and kind not in seen:
            (BAD / str(len(seen))).write_bytes(part)
            seen.add(kind)
            print(f"bad: {found}", file=sys.stderr, flush=True)
        if time.process_time() > end:
            os.kill(os.getpid(), signal.SIGUSR1)

    options = [
        f"-max_total_time={SLOWEST * SECONDS}",
        f"-max_len={max(4096, 2 * max(map(len, PARTS)))}",
        f"-artifact_prefix={BAD}/",
        "-timeout=300",  # wall-clock; `judged` measures processor time
        "-report_slow_units=300",
        "-rss_limit_mb=2000",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(SEEDS)], one)
    atheris.Fuzz()


main()
