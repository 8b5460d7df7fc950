"""One target of the fuzzing, its changes led by what they reach of ckpttool's code; needs atheris.

Run by `trust/fuzz.py --atheris` as: python trust/fuzz_led.py TARGET SECONDS FOLDER. FOLDER/bad has what went wrong, one
part for each kind of error, and FOLDER/seeds what led on.
"""

import sys
from pathlib import Path

import atheris

NAME, SECONDS, FOLDER = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
WORK, BAD, SEEDS = FOLDER / "work", FOLDER / "bad", FOLDER / "seeds"
for place in (WORK, BAD, SEEDS):
    place.mkdir()
with atheris.instrument_imports(include=["ckpttool"]):
    import fuzz

    TARGET = fuzz.fuzzing.TARGETS[NAME]
    PARTS = [TARGET.seed, *fuzz.fuzzing.kept(NAME)]
    for part in PARTS:  # what is imported when it is first used is to be instrumented, too
        fuzz.judged(TARGET, WORK, part)


def main() -> None:
    """Fuzz until the time is over; libFuzzer ends the process."""
    for number, part in enumerate(PARTS):
        (SEEDS / f"kept{number}").write_bytes(part)
    seen: set[str] = set()

    def one(part: bytes) -> None:
        found = fuzz.judged(TARGET, WORK, part)
        kind = found and found.partition(": ")[0]
        if found and kind not in seen:
            (BAD / str(len(seen))).write_bytes(part)
            seen.add(kind)
            print(f"bad: {found}", file=sys.stderr, flush=True)

    options = [
        f"-max_total_time={SECONDS}",
        f"-max_len={max(4096, 2 * max(map(len, PARTS)))}",
        f"-artifact_prefix={BAD}/",
        "-timeout=60",
        "-rss_limit_mb=2000",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(SEEDS)], one)
    atheris.Fuzz()


main()
