"""One target of the fuzzing, its changes led by what they reach of ckpttool's code; needs atheris.

Run by `trust/fuzz.py --atheris` as: python trust/fuzz_led.py TARGET SECONDS FOLDER. FOLDER/bad has what went wrong, one
part for each kind of error, and FOLDER/seeds what led on.
"""

import sys
import time
import traceback
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "formats"))
with atheris.instrument_imports(include=["ckpttool"]):
    import fuzzing

SLOW = 10


def main() -> None:
    """Fuzz until the time is over; libFuzzer ends the process."""
    name, seconds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    target, work, bad, seeds = fuzzing.TARGETS[name], folder / "work", folder / "bad", folder / "seeds"
    for place in (work, bad, seeds):
        place.mkdir()
    for number, part in enumerate([target.seed, *fuzzing.kept(name)]):
        (seeds / f"kept{number}").write_bytes(part)
    seen: set[str] = set()

    def one(part: bytes) -> None:
        start = time.process_time()
        try:
            target.read(target.make(work, part))
        except (fuzzing.CkptError, OSError):
            pass
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            last = traceback.extract_tb(error.__traceback__)[-1]
            keep(f"{type(error).__name__} {last.filename}:{last.lineno}", part)
        if time.process_time() - start > SLOW:
            keep("slow", part)

    def keep(kind: str, part: bytes) -> None:
        if kind not in seen:
            (bad / str(len(seen))).write_bytes(part)
            seen.add(kind)
            print(f"bad: {kind}", file=sys.stderr, flush=True)

    options = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-timeout=60",
        "-rss_limit_mb=2000",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(seeds)], one)
    atheris.Fuzz()


main()
