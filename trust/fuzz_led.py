"""One target of the fuzzing, its changes led by what they reach of ckpttool's code; needs atheris.

Run by `trust/fuzz.py --atheris` as: python trust/fuzz_led.py TARGET SECONDS FOLDER SEEDS. FOLDER/bad has what went
wrong, one part for each kind of error, and SEEDS what led on.
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
"""How many times as long as its seconds of the processor it may take, on a machine that does other things too."""
with atheris.instrument_imports(include=["ckpttool"]):
    import fuzz
    import fuzzing

    TARGET = fuzzing.TARGETS[NAME]
    PARTS = [TARGET.seed, *fuzzing.kept(NAME)]
    for part in PARTS:  # what is imported when it is first used is to be instrumented, too
        fuzz.judged(TARGET, WORK, part)


def main() -> None:
    """Fuzz until the processor's time is over; libFuzzer ends the process, and SIGUSR1 asks it to."""
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
        "-timeout=300",  # by the clock: what takes too long of the processor is found by `judged`
        "-report_slow_units=300",
        "-rss_limit_mb=2000",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(SEEDS)], one)
    atheris.Fuzz()


main()
