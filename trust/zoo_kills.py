"""Kills of commands that write a catalogue, at every file-system call and at random moments, and in pairs.

At each call of adding, tagging, moving, removing, collecting, compacting and pulling the process is killed, or the call
fails; adding, removing, collecting and pulling are also killed at random moments (points), with larger models. Then the
catalogue must be in its state before or after. The command is run again, and unused bytes are collected: all that an
entry names must be there, whole, and nothing else. In the rounds two processes at once add, pull, remove, tag, collect
and compact entries of their own and a shared one, and one is killed at a random moment: all that each has reported as
done must be there. Entries are pulled from a hub and a bucket on the loopback interface.

    python trust/zoo_kills.py [--every N] [--points N] [--rounds N] [--kinds kill,torn,ENOSPC,EIO] [--only PART]
"""

import argparse
import gc
import importlib
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import WRITES, Faults, in_child
from zoo_rounds import rounds
from zoo_servers import BUCKET, REPOSITORY, servers
from zoo_states import Work, judged, make_catalogue, make_models, show, state_of

from ckpttool.core.errors import CkptError
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_compact import zoo_compact
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.verbs.zoo_list import zoo_list
from ckpttool.verbs.zoo_move import zoo_move
from ckpttool.verbs.zoo_pull import zoo_pull
from ckpttool.verbs.zoo_remove import zoo_remove
from ckpttool.verbs.zoo_tag import zoo_tag
from ckpttool.verbs.zoo_verify import zoo_verify

CASES: dict[str, Work] = {
    "add": lambda root: zoo_add("3.safetensors", "new", root=root, tags=["best"]),
    "add a revision": lambda root: zoo_add("3.safetensors", "x", root=root),
    "add what is there": lambda root: zoo_add("1.safetensors", "same", root=root),
    "add what was compacted": lambda root: zoo_add("4.safetensors", "again", root=root),
    "tag": lambda root: zoo_tag("x@1", ["best", "old"], root=root),
    "move": lambda root: zoo_move("x", "y", root),
    "remove": lambda root: zoo_remove("x", root),
    "remove a revision": lambda root: zoo_remove("x@2", root),
    "gc": lambda root: zoo_gc(root=root),
    "compact": zoo_compact,
    "list": lambda root: zoo_list(root=root),
    "pull from a bucket": lambda root: zoo_pull(BUCKET, entry="pulled", root=root, tags=["best"], talk=lambda _: None),
    "pull from a hub": lambda root: zoo_pull(REPOSITORY, root=root, tags=["best"], talk=lambda _: None),
}
AT_POINTS = ("add", "remove", "gc", "pull from a bucket", "pull from a hub")
LARGER = 400
"""The side of the models' square tensors in kills at random points: 640 kB each."""


class Attacked:
    """A catalogue on which a command is tried repeatedly, with its states before and after."""

    def __init__(self, folder: Path, start: Path, work: Work) -> None:
        """Run the command once, and record its calls and duration."""
        self.root, self._answer, self._start, self._work = folder / "zoo", folder / "answer", start, work
        self._folder = folder
        self.renew()
        self.before = state_of(self.root)
        answer = self.told(self._counted)
        self.calls, self.seconds = answer["calls"], answer["seconds"]
        self.after = state_of(self.root)

    def renew(self) -> None:
        """Restore the catalogue as before the command, and remove what was pulled."""
        for each in (self.root, self._folder / "hub", self._folder / "cache"):
            shutil.rmtree(each, ignore_errors=True)
        shutil.copytree(self._start, self.root, copy_function=_like)

    def told(self, work: Callable[[], Any]) -> Any:
        """Run a function in a child process, and return its result; None if the child died."""

        def answering() -> int:
            self._answer.write_text(json.dumps(work()))
            return 0

        return None if in_child(answering) else json.loads(self._answer.read_text())

    def _counted(self) -> dict[str, Any]:
        names: list[str] = []
        start = time.perf_counter()
        with Faults(seen=names.append).active():
            self._work(self.root)
        return {"calls": names, "seconds": time.perf_counter() - start}

    def problems(self) -> list[str]:
        """Return what is bad about the catalogue's state, and about what further commands do with it."""
        answer = self.told(lambda: judged(self.root, self._work, self.before, self.after))
        return ["judge ended"] if answer is None else answer

    def struck(self, number: int, kind: str) -> None:
        """Run the command with a fault at one of its calls."""

        def struck() -> int:
            try:
                with Faults(number, kind).active():
                    self._work(self.root)
            except (CkptError, OSError):
                return 1
            return 0

        in_child(struck)

    def killed(self, seconds: float) -> bool:
        """Run the command, and kill it after some time; return whether it was still running."""
        child = os.fork()
        if not child:
            self._work(self.root)
            os._exit(0)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _like(source: str, target: str) -> None:
    """Link a file of models, which is never changed; copy any other file."""
    is_fixed = {"blobs", "by-name"} & {*Path(source).parts}
    os.link(source, target) if is_fixed else shutil.copy2(source, target)


def kills(folder: Path, cases: dict[str, Work], every: int, kinds: list[str], found: Counter[str]) -> None:
    """Run each command with a fault at its calls."""
    for name, work in cases.items():
        attacked, bad = Attacked(folder, folder / "start", work), 0
        for kind in kinds:
            for number, call in list(enumerate(attacked.calls, 1))[::every]:
                if kind in ("torn", "short") and call not in WRITES:
                    continue
                attacked.renew()
                attacked.struck(number, kind)
                found["tried"] += 1
                for problem in attacked.problems():
                    bad += 1
                    show(f"  {name}, {kind} at {number} {call}: {problem[:300]}")
        found["bad"] += bad
        show(f"{name:24} {len(attacked.calls):4} calls, {bad} bad")


def points(folder: Path, cases: dict[str, Work], count: int, found: Counter[str]) -> None:
    """Kill each command at random moments."""
    chance = random.Random(7)
    for name in (each for each in AT_POINTS if each in cases and count):
        attacked, bad, at_work = Attacked(folder, folder / "larger", cases[name]), 0, 0
        for number in range(count):
            attacked.renew()
            at_work += attacked.killed(chance.uniform(0, attacked.seconds))
            for problem in attacked.problems():
                bad += 1
                show(f"  {name}, point {number}: {problem[:300]}")
        found["points"], found["bad"] = found["points"] + count, found["bad"] + bad
        show(f"{name:24} {count:4} points in {attacked.seconds:.2f} s, {at_work} of them at work, {bad} bad")


def warm(folder: Path) -> None:
    """Import what the commands need before any fork; threads are started in a child process, which ends."""
    make_catalogue(folder / "warm")
    state_of(folder / "warm")
    zoo_list(root=folder / "warm")
    zoo_verify(root=folder / "warm")
    for each in ("fsspec.core", "s3fs", "huggingface_hub.file_download", "huggingface_hub.hf_api"):
        importlib.import_module(each)
    gc.freeze()


def main() -> int:
    """Run the attacks, print totals, and return whether anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--every", type=int, default=1, help="every Nth call, to be quick")
    parser.add_argument("--points", type=int, default=200, help="random moments of each command")
    parser.add_argument("--rounds", type=int, default=500, help="rounds of two processes at once")
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    parser.add_argument("--kinds", default="kill,torn,ENOSPC,EIO")
    parser.add_argument("--only", default="", help="the commands whose names have this in them")
    options = parser.parse_args()
    logging.disable()  # swept files are reported
    place, found = "/dev/shm" if Path("/dev/shm").is_dir() else None, Counter[str]()
    cases = {name: work for name, work in CASES.items() if options.only in name}
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        make_models(folder)
        with servers(folder):
            warm(folder)
            make_catalogue(folder / "start")
            rounds(folder, range(options.first, options.rounds), found)
            kills(folder, cases, options.every, [each for each in options.kinds.split(",") if each], found)
        make_models(folder, LARGER)
        with servers(folder):
            make_catalogue(folder / "larger")
            points(folder, cases, options.points, found)
        os.chdir("/")
    note = f"{found['tried']} faults at calls, {found['points']} kills at random moments, "
    note += f"{found['rounds']} rounds of two at once, {found['killed']} of them killed"
    tried = found["tried"] + found["points"] + found["rounds"]
    print(
        json.dumps(
            {"figure": "the catalogue: faults and two at once", "tried": tried, "bad": found["bad"], "note": note}
        )
    )
    return bool(found["bad"])


if __name__ == "__main__":
    sys.exit(main())
