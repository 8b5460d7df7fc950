"""TensorFlow's own Saver, killed by strace at each of its file-system calls, with and without an old model."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from faults import in_child

NAME = "x.ckpt"
FIGURE = "faults at file-system calls, commands that write"
CALLS = (
    "openat,write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,link,fsync,fdatasync"
)
LINE = re.compile(r"^\d+ +(\w+)\((.*)")
State = list[Any]
Point = tuple[str, int]
"""A system call, and its number among those of its kind."""


def figure(every: int) -> dict[str, Any] | None:
    """Kill at every Nth call, and count the outcomes; None if strace cannot."""
    if not shutil.which("strace"):
        return None
    found: Counter[str] = Counter()
    for over, sharded in product((False, True), repeat=2):
        with tempfile.TemporaryDirectory() as folder:
            found.update(_ends(Path(folder), over, sharded, every))
    if not found["tried"]:
        return None
    bad = found["lost"] + found["mixed"]
    parts = (f"{found[key]} {said}" for key, said in SAID.items() if found[key])
    print("kills of the Saver", dict(found), flush=True)
    return {"figure": FIGURE, "tried": found["tried"], "bad": bad, "note": "killed alone: " + ", ".join(parts)}


def _ends(folder: Path, over: bool, sharded: bool, every: int) -> Iterator[str]:
    """Kill a Saver at every Nth call, with or without an old model, and yield what is bad afterwards."""
    start = folder / "start"
    start.mkdir()
    if over:
        _saved(start, 1, sharded)
    before = _state(start)
    for call, number in _points(start, sharded)[::every]:
        work = _fresh(start)
        if _saved(work, 2, sharded, f"inject={call}:signal=KILL:when={number}") == 0:
            continue  # no such call this time, or strace may not trace
        yield "tried"
        there = _state(work)
        if there not in (before, [2, 2]):
            yield "lost" if 0 in there or (over and None in there) else "mixed"
        if _saved(work, 2, sharded) or _others(work):
            yield "left"


SAID = {"lost": "lost", "mixed": "mixed", "left": "leave files"}


def _fresh(start: Path) -> Path:
    work = start.with_name("work")
    shutil.rmtree(work, ignore_errors=True)
    return Path(shutil.copytree(start, work))


def _points(start: Path, sharded: bool) -> list[Point]:
    """Return the calls of a save that change something in its folder."""
    work, log = _fresh(start), start.with_name("log")
    _saved(work, 2, sharded, f"trace={CALLS}", log)
    counts: Counter[str] = Counter()
    points = []
    for line in log.read_text().splitlines():
        if found := LINE.match(line):
            counts[found[1]] += 1
            reads = found[1] == "openat" and not re.search("O_WRONLY|O_RDWR", found[2])
            if re.search(f"{NAME}|checkpoint", found[2]) and not reads:
                points.append((found[1], counts[found[1]]))
    return points


def _saved(folder: Path, version: int, sharded: bool, option: str = "", log: Path = Path(os.devnull)) -> int:
    """Have a Saver save a version in a fork, under strace if there is an option; return its exit code."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        code = 1
        try:
            os.chdir(folder)
            _save(version, sharded, ready[1], go[0])
            code = 0
        finally:
            os._exit(code)
    os.read(ready[0], 1)
    tracer = None
    if option:
        command = ["strace", "-f", "-y", "-q", "-e", f"trace={CALLS}", "-e", option, "-o", str(log), "-p", str(child)]
        tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while "TracerPid:\t0" in Path(f"/proc/{child}/status").read_text() and tracer.poll() is None:
            time.sleep(0.005)
    os.write(go[1], b"x")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for end in (*ready, *go):
        os.close(end)
    if tracer:
        tracer.wait()
    return status


def _save(version: int, sharded: bool, ready: int, go: int) -> None:
    """Save a small model whose values and graph contain its version, in one thread."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default():
        for name in ("a", "b"):
            tf1.get_variable(name, (4,), initializer=tf1.constant_initializer(version))
        tf1.add_to_collection("version", str(version))
        saver = tf1.train.Saver(sharded=sharded)
        alone = tf1.ConfigProto(inter_op_parallelism_threads=-1, intra_op_parallelism_threads=1)
        with tf1.Session(config=alone) as session:
            session.run(tf1.global_variables_initializer())
            os.write(ready, b"x")
            os.read(go, 1)
            saver.save(session, NAME)


def _state(folder: Path) -> State:
    """Return the version of the weights and of the graph; None if missing, 0 if unreadable."""
    answer = folder.with_suffix(".answer")

    def work() -> int:
        import tensorflow as tf

        prefix, versions = str(folder / NAME), set[int]()
        weights: int | None
        graph: int | None
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        answer.write_text("[0, 0]")
        try:
            opened = tf.train.load_checkpoint(prefix)
            for name in opened.get_variable_to_shape_map():
                versions.update(map(int, opened.get_tensor(name)))
            weights = versions.pop() if len(versions) == 1 else 0
        except Exception:  # noqa: BLE001 - whatever it is, it cannot be read
            weights = 0 if Path(f"{prefix}.index").exists() else None
        try:
            meta = tf.compat.v1.MetaGraphDef.FromString(Path(f"{prefix}.meta").read_bytes())
            graph = int(meta.collection_def["version"].bytes_list.value[0])
        except FileNotFoundError:
            graph = None
        except Exception:  # noqa: BLE001
            graph = 0
        answer.write_text(json.dumps([weights, graph]))
        return 0

    in_child(work)
    return list(json.loads(answer.read_text()))


def _others(folder: Path) -> list[str]:
    """Return the names of files that are not part of the model."""
    whole = {f"{NAME}.index", f"{NAME}.meta", f"{NAME}.data-00000-of-00001", "checkpoint"}
    return [path.name for path in folder.iterdir() if path.name not in whole]
