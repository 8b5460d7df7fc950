"""Two processes with one catalogue, one of them killed at a random moment: all that each has reported must be there."""

import contextlib
import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from zoo_servers import BUCKET, MODEL, REPOSITORY
from zoo_states import MODELS, make_catalogue, orphans, show, state_of

from ckpttool.catalogue.layout import Catalogue
from ckpttool.core.errors import CkptError
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_compact import zoo_compact
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.verbs.zoo_list import zoo_list
from ckpttool.verbs.zoo_pull import zoo_pull
from ckpttool.verbs.zoo_remove import zoo_remove
from ckpttool.verbs.zoo_tag import zoo_tag
from ckpttool.verbs.zoo_verify import zoo_verify

LONGEST = 0.25
"""The latest time, in seconds, at which one of two processes is killed."""
SOURCES = ((BUCKET, "pulled"), *[(REPOSITORY, None)] * 3)
"""Sources to pull from: a bucket client takes a second to start, so most are hubs."""
DOINGS = ("add", "add", "add", "remove", "gc", "compact", "tag", "both", "list", "pull")


def work_on(root: Path, who: str, seed: int, log: Path) -> int:
    """Add, pull, remove, tag, collect and compact until killed or done; report each step before and after it."""
    chance, held = random.Random(seed), dict[str, int]()
    with log.open("a", buffering=1) as said:
        for step in range(12):
            name, number = f"{who}{chance.randrange(2)}", chance.randrange(MODELS)
            doing = chance.choice(DOINGS)
            if doing == "remove" and name not in held:
                doing = "add"
            number = int(MODEL[0]) if doing == "pull" else number
            said.write(json.dumps([doing, name, number]) + "\n")
            if doing == "add":
                done: Any = zoo_add(f"{number}.safetensors", name, root=root).revision
                held[name] = done
            elif doing == "pull":
                done = zoo_pull(*SOURCES[seed % len(SOURCES)], name=name, root=root, talk=lambda _: None).revision
                held[name] = done
            elif doing == "both":
                done = zoo_add(f"{number}.safetensors", "both", root=root).revision
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
    """Return what a process reported: revisions and models of its entries; and the entries it was changing."""
    have, open_ = dict[str, tuple[int, int]](), set[str]()
    for line in log.read_text().splitlines():
        doing, name, number, *done = json.loads(line)
        name = "both" if doing == "both" else name
        if not done:
            open_ = {name} if doing in ("add", "remove", "both", "pull") else set()
            continue
        open_ = set()
        if doing in ("add", "both", "pull"):
            have[f"{name}@{done[0]}"] = (done[0], number)
        elif doing == "remove":
            have = {entry: each for entry, each in have.items() if not entry.startswith(f"{name}@")}
    return have, open_


def rounds(folder: Path, numbers: range, found: Counter[str]) -> None:
    """Run two processes at once, kill one of them, and judge the catalogue afterwards."""
    chance = random.Random(5)
    for number in numbers:
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
    problems = list[str]()
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
