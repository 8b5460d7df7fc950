"""Kills of what writes a catalogue, at every file-system call and at random moments, and two processes at once.

At each call of adding, tagging, moving, removing, collecting and compacting the process is killed, or the call fails,
then the catalogue is read: it must have what it had before or what it has after. The command is run again, and unused
bytes are collected: all that an entry names must be there, whole, and nothing else. In the rounds two processes at once
add, remove, tag, collect and compact entries of their own and one of both, and one is killed at a random moment: what
each has said to be done must be there.

    python trust/zoo_kills.py [--every N] [--rounds N] [--kinds kill,torn,ENOSPC,EIO]
"""

import argparse
import contextlib
import gc
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

import numpy as np
from faults import WRITES, Faults, in_child

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.core.errors import CkptError
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_compact import zoo_compact
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.verbs.zoo_list import zoo_list
from ckpttool.verbs.zoo_move import zoo_move
from ckpttool.verbs.zoo_remove import zoo_remove
from ckpttool.verbs.zoo_tag import zoo_tag
from ckpttool.verbs.zoo_verify import zoo_verify

Work = Callable[[Path], object]
MODELS = 6
LONGEST = 0.25
"""Seconds after which at most one of two processes is killed."""
CASES: dict[str, Work] = {
    "add": lambda root: zoo_add("3.safetensors", "new", root, tags=["best"]),
    "add a revision": lambda root: zoo_add("3.safetensors", "x", root),
    "add what is there": lambda root: zoo_add("1.safetensors", "same", root),
    "add what was compacted": lambda root: zoo_add("4.safetensors", "again", root),
    "tag": lambda root: zoo_tag("x@1", ["best", "old"], root=root),
    "move": lambda root: zoo_move("x", "y", root),
    "remove": lambda root: zoo_remove("x", root),
    "remove a revision": lambda root: zoo_remove("x@2", root),
    "gc": lambda root: zoo_gc(root=root),
    "compact": zoo_compact,
    "list": lambda root: zoo_list(root=root),
}


def make_models(folder: Path) -> None:
    """Write models that share a tensor, in the folder and into it."""
    os.chdir(folder)
    for number in range(MODELS):
        values = {"own/kernel": np.full((40, 40), number, np.float32), "frozen/kernel": np.ones((40, 40), np.float32)}
        checkpoint.save(values, f"{number}.safetensors")


def make_catalogue(root: Path) -> None:
    """Fill a catalogue: two revisions, what was compacted, and what is to be collected."""
    for number in (4, 5):
        zoo_add(f"{number}.safetensors", f"compacted{number}", root)
    zoo_compact(root)
    zoo_add("1.safetensors", "x", root, tags=["old"])
    zoo_add("2.safetensors", "x", root, tags=["best"])
    zoo_add("0.safetensors", "gone", root)
    zoo_remove("gone", root)


def state_of(root: Path) -> dict[str, Any]:
    """Return what a catalogue has: the values of all revisions, and the tags."""
    os.environ["CKPTTOOL_ZOO"] = str(root)
    catalogue, found = Catalogue.open(root), dict[str, Any]()
    for name in catalogue.names():
        for revision in catalogue.revisions(name):
            opened = checkpoint.open(f"zoo:{name}@{revision}")
            found[f"{name}@{revision}"] = {each: float(tensor.read().max()) for each, tensor in opened.items()}
        if catalogue.revisions(name):
            found[f"tags of {name}"] = catalogue.tags(name)
    return found


def orphans(root: Path) -> list[str]:
    """Return what is left in a catalogue after it was collected, and should not be."""
    zoo_gc(root=root)
    again = zoo_gc(root=root)
    others = [path.name for folder in ("tmp", "condemned") for path in (root / folder).glob("*")]
    return [*again.blobs, *again.others, *others]


def judged(root: Path, work: Work, before: Any, after: Any) -> list[str]:
    """Read what is there, run the command again and collect; return what is bad about it."""
    problems = []
    there = state_of(root)
    tags_between = {key: value for key, value in there.items() if not key.startswith("tags")}
    if there not in (before, after) and tags_between not in (without_tags(before), without_tags(after)):
        problems.append(f"lost or mixed: {there}")
    if zoo_verify(root=root).problems:
        problems.append(f"damaged: {zoo_verify(root=root).problems[:2]}")
    with contextlib.suppress(CkptError):  # it is done already: there is nothing to remove any more
        work(root)
    if (then := state_of(root)) != after:
        problems.append(f"not done again: {then}")
    if left := orphans(root):
        problems.append(f"left: {left[:3]}")
    if state_of(root) != after or zoo_verify(root=root).problems:
        problems.append("lost by collecting")
    return problems


def without_tags(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state without its tags: each is set by itself."""
    return {key: value for key, value in state.items() if not key.startswith("tags")}


def kills(folder: Path, every: int, kinds: list[str], found: Counter[str]) -> None:
    """Kill each command at its calls."""
    start = folder / "start"
    make_catalogue(start)
    for name, work in CASES.items():
        root, answer = folder / "zoo", folder / "calls"
        shutil.copytree(start, root, copy_function=os.link)
        before = state_of(root)

        def counted(work: Work = work, root: Path = root, answer: Path = answer) -> int:
            names: list[str] = []
            with Faults(seen=names.append).active():
                work(root)
            answer.write_text(" ".join(names))
            return 0

        in_child(counted)
        calls, after = answer.read_text().split(), state_of(root)
        shutil.rmtree(root)
        bad = 0
        for kind in kinds:
            for number, call in list(enumerate(calls, 1))[::every]:
                if kind in ("torn", "short") and call not in WRITES:
                    continue
                shutil.copytree(start, root)

                def struck(work: Work = work, root: Path = root, number: int = number, kind: str = kind) -> int:
                    try:
                        with Faults(number, kind).active():
                            work(root)
                    except (CkptError, OSError):
                        return 1
                    return 0

                states = before, after

                def judging(work: Work = work, root: Path = root, answer: Path = answer, states: Any = states) -> int:
                    answer.write_text(json.dumps(judged(root, work, *states)))
                    return 0

                in_child(struck)
                problems = ["judge ended"] if in_child(judging) else json.loads(answer.read_text())
                found["tried"] += 1
                for problem in problems:
                    bad += 1
                    show(f"  {name}, {kind} at {number} {call}: {problem[:300]}")
                shutil.rmtree(root)
        found["bad"] += bad
        show(f"{name:24} {len(calls):4} calls, {bad} bad")


def work_on(root: Path, who: str, seed: int, log: Path) -> int:
    """Add, remove, tag, collect and compact until killed, or done; say before and after each what it is."""
    chance, held = random.Random(seed), dict[str, int]()
    with log.open("a", buffering=1) as said:
        for step in range(12):
            name, number = f"{who}{chance.randrange(2)}", chance.randrange(MODELS)
            doing = chance.choice(["add", "add", "add", "remove", "gc", "compact", "tag", "both", "list"])
            if doing == "remove" and name not in held:
                doing = "add"
            said.write(json.dumps([doing, name, number]) + "\n")
            if doing == "add":
                done: Any = zoo_add(f"{number}.safetensors", name, root).revision
                held[name] = done
            elif doing == "both":
                done = zoo_add(f"{number}.safetensors", "both", root).revision
            elif doing == "remove":
                done = zoo_remove(name, root)
                held.pop(name)
            elif doing == "tag":
                done = zoo_tag(name, [f"t{step}"], root=root) if name in held else None
            elif doing == "list":
                done = len(zoo_list(root=root))
            else:
                done = (zoo_gc(root=root) if doing == "gc" else zoo_compact(root)) and None
            said.write(json.dumps([doing, name, number, done]) + "\n")
    return 0


def expected(log: Path) -> tuple[dict[str, tuple[int, int]], set[str]]:
    """Return what a process says to have: its entries' revisions and models; and the entries that it was at work on."""
    have, open_ = dict[str, tuple[int, int]](), set[str]()
    for line in log.read_text().splitlines():
        doing, name, number, *done = json.loads(line)
        name = "both" if doing == "both" else name
        if not done:
            open_ = {name} if doing in ("add", "remove", "both") else set()
            continue
        open_ = set()
        if doing in ("add", "both"):
            have[f"{name}@{done[0]}"] = (done[0], number)
        elif doing == "remove":
            have = {entry: each for entry, each in have.items() if not entry.startswith(f"{name}@")}
    return have, open_


def rounds(folder: Path, count: int, found: Counter[str]) -> None:
    """Have two processes at work at once, one of which is killed, and judge what is there then."""
    chance = random.Random(5)
    for number in range(count):
        root, logs = folder / "zoo", [folder / f"log{who}" for who in "ab"]
        make_catalogue(root) if number % 2 else Catalogue.begun(root)
        children = []
        for who, log in zip("ab", logs, strict=True):
            log.unlink(missing_ok=True)
            log.touch()
            child = os.fork()
            if not child:
                code = 1
                try:
                    code = work_on(root, who, number * 2 + (who == "b"), log)
                except BaseException as error:  # noqa: BLE001 - whatever it is, it is bad
                    (folder / f"error{who}").write_text(f"{type(error).__name__}: {error}")
                finally:
                    os._exit(code)
            children.append(child)
        time.sleep(chance.uniform(0.01, LONGEST))
        with contextlib.suppress(ProcessLookupError):
            os.kill(children[0], signal.SIGKILL)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        found["killed"] += ends[0] == -signal.SIGKILL
        found["rounds"] += 1
        problems = [
            f"{who} failed: {(folder / f'error{who}').read_text()}"
            for who, end in zip("ab", ends, strict=True)
            if end > 0
        ]
        problems += judged_round(root, logs)
        for problem in problems:
            show(f"  round {number}: {problem[:400]}")
        found["bad"] += len(problems)
        shutil.rmtree(root)


def judged_round(root: Path, logs: list[Path]) -> list[str]:
    """Return what is bad after two processes have ended."""
    problems = []
    for when in ("before", "after"):
        try:
            there = state_of(root)
        except CkptError as error:
            return [*problems, f"unreadable {when} collecting: {error}"]
        for log in logs:
            have, open_ = expected(log)
            for entry, (_, model) in have.items():
                if entry.partition("@")[0] in open_:
                    continue
                if there.get(entry, {}).get("own/kernel") != model:
                    problems.append(f"{entry} is not model {model} {when} collecting: {there.get(entry)}")
        problems += [f"{when} collecting: {each}" for each in zoo_verify(root=root).problems[:2]]
        if when == "before" and (left := orphans(root)):
            problems.append(f"left: {left[:3]}")
    return problems


def show(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> int:
    """Run the attacks, print sums, and return whether anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--every", type=int, default=1, help="every Nth call, to be quick")
    parser.add_argument("--rounds", type=int, default=500, help="rounds of two processes at once")
    parser.add_argument("--kinds", default="kill,torn,ENOSPC,EIO")
    options = parser.parse_args()
    logging.disable()  # what is swept is said
    place, found = "/dev/shm" if Path("/dev/shm").is_dir() else None, Counter[str]()
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        make_models(folder)
        make_catalogue(folder / "warm")
        state_of(folder / "warm")
        zoo_list(root=folder / "warm")
        zoo_verify(root=folder / "warm")
        gc.freeze()
        kills(folder, options.every, options.kinds.split(","), found)
        rounds(folder, options.rounds, found)
        os.chdir("/")
    note = (
        f"{found['tried']} faults at calls, {found['rounds']} rounds of two at once, {found['killed']} of them killed"
    )
    tried = found["tried"] + found["rounds"]
    print(
        json.dumps(
            {"figure": "the catalogue: faults and two at once", "tried": tried, "bad": found["bad"], "note": note}
        )
    )
    return bool(found["bad"])


if __name__ == "__main__":
    sys.exit(main())
