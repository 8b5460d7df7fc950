"""Power cuts: whatever was not synced may be lost, and the rest must be the old output or the new one.

A run of each command is recorded, each disk state that it may leave is read, and the command run again (`disks.py`).
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from attacked_commands import CASES, make_inputs, run, show
from disks import Event, Impossible, Recorder, disks, make
from faults import in_child
from kills import Trials


def recorded(trials: Trials) -> list[Event]:
    """Return the events of a run of the command."""
    trials.fresh()
    log = trials.work.with_name("events")

    def work() -> int:
        os.chdir(trials.work)
        with Recorder().active() as recorder:
            run(trials.case.argv(trials.over))
        log.write_text(json.dumps(recorder.events))
        return 0

    in_child(work)
    events: list[Event] = json.loads(log.read_text())
    log.unlink()
    return [event for event in events if event[0] == "sync" or str(trials.work) in event[1]]


def main() -> int:
    """Run all power cuts, print a table, and return whether anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("only", nargs="*", help="cases whose names contain one of these")
    parser.add_argument("--every", type=int, default=1, help="every Nth state of the disk, to be quick")
    parser.add_argument("--most", type=int, default=1, help="names that are lost at once")
    options = parser.parse_args()
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    bad, tried, only = Counter[str](), 0, options.only
    with tempfile.TemporaryDirectory(dir=place) as folder:
        inputs = Path(folder, "inputs")
        inputs.mkdir()
        make_inputs(inputs)
        os.chdir("/")
        show(f"{'command':42} {'over':5} disks  lost mixed  left refused other")
        for case in (each for each in CASES if not only or any(word in each.name for word in only)):
            for over in (False, True):
                trials, found, count = Trials(case, inputs, over), Counter[str](), 0
                states = disks(recorded(trials), options.most)
                for names, contents in itertools.islice(states, None, None, options.every):
                    trials.fresh()
                    try:
                        make(trials.work, names, contents)
                    except Impossible:
                        continue
                    count += 1
                    found.update(trials.judged())
                trials.close()
                others = sum(found[key] for key in found if key not in ("lost", "mixed", "left", "refused"))
                figures = f"{found['lost']:5} {found['mixed']:5} {found['left']:5} {found['refused']:7} {others:5}"
                show(f"{case.name:42} {'over' if over else 'fresh':5} {count:5} {figures}")
                bad, tried = bad + found, tried + count
    note = str(dict(bad) or "nothing lost, mixed, left or refused")
    show(note)
    show(json.dumps({"figure": "unsynced writes dropped", "tried": tried, "bad": bad.total(), "note": note}))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
