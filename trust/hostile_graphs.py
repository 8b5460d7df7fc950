"""Graphs that act: one for each op that TensorFlow's registry has and the list refuses, by commands that run graphs.

Each model has the op on the way to its logits: plain, in a function that is called, mapped, in a branch, in a loop. A
command gets it, in a fork whose folder is watched: no canary may be touched, nothing written, the fork may not die, and
the command must refuse. `fold`, which runs nothing, may write. Each op is tried plain and in one other place, by
commands in turn; with `--all` in every place by every command. Before that WriteFile is allowed once, to see that a
canary which is touched is noticed.

    python trust/hostile_graphs.py [--all] [--every N] [--jobs N] [COMMAND ...]
"""

import argparse
import contextlib
import ctypes
import io
import logging
import os
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ckpttool import checkpoint
from ckpttool.cli import main
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.computing_ops import COMPUTING

FLOAT, STRING, INT32 = 1, 7, 3
Trial = tuple[str, str, str]
"""An op, a place, a command."""
PLACES = ("plain", "call", "map", "if", "while")
COMMANDS = {
    "evaluate": "evaluate model.ckpt --data data.npz",
    "predict": "predict model.ckpt --data data.npz -o out.npz",
    "cache": "cache model.ckpt --freeze hidden1 --data data.npz --cache-dir kept",
    "finetune": "finetune model.ckpt --data data.npz --epochs 1 -o out.ckpt",
    "diagnose": "diagnose model.ckpt --data data.npz",
    "lr-find": "lr-find model.ckpt --data data.npz",
    "search": "search model.ckpt --data data.npz --quick",
    "fold": "fold model.ckpt --outputs outputs/logits -o out.pb",
}
FAULT = 99
"""The exit code of a fork in which a command raised what is no error for a user."""
REWRITES = ("fold",)
"""Commands that treat a graph as data, and may write one that acts."""
SECONDS = 60
SEEN = 0x20 | 0x2 | 0x100 | 0x200 | 0x40 | 0x80
"""inotify: opened, modified, created, deleted, moved."""


def registry() -> list[str]:
    """Return the ops that TensorFlow knows and the list does not have."""
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client.pywrap_tf_session import TF_GetAllOpList, TF_GetBuffer

    return sorted({op.name for op in OpList.FromString(TF_GetBuffer(TF_GetAllOpList())).op} - COMPUTING)


def canary(name: str, path: Path) -> NodeDef:
    """Return a constant that is a path."""
    node = NodeDef(name=name, op="Const")
    node.attr["dtype"].type = STRING
    node.attr["value"].tensor.dtype = STRING
    node.attr["value"].tensor.string_val.append(str(path).encode())
    return node


def acting(op: str, folder: Path) -> list[NodeDef]:
    """Return an op with the paths of two canaries: one that is there to be read, one that is not."""
    nodes = [canary("read", folder / "canary"), canary("write", folder / "canary_new")]
    return [*nodes, NodeDef(name="act", op=op, input=["read", "write"])]


def placed(op: str, place: str, folder: Path) -> tuple[list[NodeDef], list[FunctionDef]]:
    """Return nodes that have an op in a place, the last of which is to be waited for, and functions."""
    if place == "plain":
        return acting(op, folder), []
    body = FunctionDef(node_def=acting(op, folder))
    body.signature.name = "body"
    kinds = {
        "call": ("PartitionedCall", "f"),
        "map": ("MapDefun", "f"),
        "if": ("If", "else_branch"),
        "while": ("While", "body"),
    }
    call, key = kinds[place]
    node = NodeDef(name="act", op=call)
    node.attr[key].func.name = "body"
    other = FunctionDef(node_def=[NodeDef(name="x", op="NoOp")])
    other.signature.name = "other"
    for more in {"if": ("then_branch",), "while": ("cond",)}.get(place, ()):
        node.attr[more].func.name = "other"
    return [node], [body, other]


def build(template: MetaGraphDef, op: str, place: str, folder: Path) -> None:
    """Write the model: the logits of the template wait for the op."""
    meta = MetaGraphDef()
    meta.CopyFrom(template)
    nodes, functions = placed(op, place, folder)
    meta.graph_def.node.extend(nodes)
    meta.graph_def.library.function.extend(functions)
    for node in meta.graph_def.node:
        if node.name in ("hidden1/Relu", "outputs/logits"):
            node.input.append(f"^{nodes[-1].name}")
    (folder / "model.ckpt.meta").write_bytes(meta.SerializeToString())
    (folder / "canary").write_text("secret")


def harmless(folder: Path) -> MetaGraphDef:
    """Write a network 4-5-3 with its weights and rows, and return its graph."""
    import tensorflow as tf

    tf1, chance = tf.compat.v1, np.random.default_rng(0)
    with tf1.Graph().as_default() as graph:
        x, y = tf1.placeholder(tf.float32, (None, 4), name="X"), tf1.placeholder(tf.int32, (None,), name="y")
        with tf1.variable_scope("hidden1"):
            kernel = tf1.get_variable("kernel", (4, 5), use_resource=True)
            hidden = tf.nn.relu(x @ kernel, name="Relu")
        with tf1.variable_scope("outputs"):
            logits = tf.matmul(hidden, tf1.get_variable("kernel", (5, 3), use_resource=True), name="logits")
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss/loss")
        tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
        saver = tf1.train.Saver()
        written = tf1.train.export_meta_graph(graph=graph, saver_def=saver.saver_def).SerializeToString()
    shapes = {"hidden1/kernel": (4, 5), "outputs/kernel": (5, 3)}
    checkpoint.save({name: chance.random(shape).astype("f") for name, shape in shapes.items()}, folder / "model.ckpt")
    rows = chance.random((60, 4)).astype("f")
    np.savez(folder / "data.npz", x_train=rows, y_train=np.arange(60, dtype="i4") % 3)
    return MetaGraphDef.FromString(written)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Give a list that has, after the block, the names of the canaries in a folder that anything has touched."""
    system = ctypes.CDLL(None, use_errno=True)
    descriptor = system.inotify_init1(os.O_NONBLOCK)
    system.inotify_add_watch(descriptor, os.fsencode(folder), SEEN)
    touched: list[str] = []
    try:
        yield touched
    finally:
        with contextlib.suppress(BlockingIOError):
            data, at = os.read(descriptor, 1 << 20), 0
            while at < len(data):
                length = struct.unpack_from("iIII", data, at)[3]
                name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                touched += [name] if name.startswith("canary") else []
                at += 16 + length
        os.close(descriptor)


def run(line: str, folder: Path) -> tuple[int, str]:
    """Run a command in a fork, in a folder; return its exit code (a signal's number below zero), and what it said."""
    said = folder.parent / "said"
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        signal.alarm(SECONDS)
        text, code = io.StringIO(), FAULT
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(text):
                main(line.split())
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            said.write_text(text.getvalue())
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code, said.read_text() if code >= 0 else f"signal {-code}"


def verdict(op: str, command: str, code: int, said: str, touched: list[str], outputs: list[str]) -> str:
    """Say how a trial ended: refused, or what is bad."""
    if touched:
        return "a canary was touched"
    if code < 0 or code == FAULT:
        return "the process died, or a traceback"
    if command in REWRITES and code == 0:
        return "refused: rewritten, and not run"
    if code == 0 or outputs:
        return "it was run"
    return "refused" if op in said or "may do more than compute" in said else "refused for another reason"


def plan(whole: bool, commands: list[str]) -> list[Trial]:
    """Return which op is tried in which place by which command."""
    ops = registry()
    if whole:
        return [(op, place, command) for op in ops for place in PLACES for command in commands]
    return [
        (op, PLACES[place], commands[(number + place) % len(commands)])
        for number, op in enumerate(ops)
        for place in (0, 1 + number % (len(PLACES) - 1))
    ]


def trials(todo: list[Trial], jobs: int) -> Counter[str]:
    """Try what is planned, and count how it ended; what is bad is printed."""
    counts = Counter[str]()
    base = Path(tempfile.mkdtemp(prefix="ckpttool-hostile-"))
    template = harmless(base)
    warm()
    require_canaries(base, template)
    children = []
    for job in range(jobs):
        out = base / f"job{job}"
        if (child := os.fork()) == 0:
            work(todo[job::jobs], base, template, out)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    for job in range(jobs):
        for line in (base / f"job{job}.txt").read_text().splitlines():
            how, *what = line.split("\t")
            counts[how] += 1
            if not how.startswith("refused"):
                print(how, *what, sep="\t", flush=True)
    shutil.rmtree(base)
    return counts


def require_canaries(base: Path, template: MetaGraphDef) -> None:
    """Check that a canary which is touched is noticed: WriteFile is allowed to."""
    folder = case(base, template, "WriteFile", "plain")
    with watched(folder) as touched:
        code, said = run(f"{COMMANDS['evaluate']} --allow-op WriteFile", folder)
    if code != 0 or not touched:
        raise SystemExit(f"the canaries are not watched: {code} {said}")


def case(base: Path, template: MetaGraphDef, op: str, place: str) -> Path:
    """Return a new folder with a model that has an op in a place, its weights and rows."""
    folder = Path(tempfile.mkdtemp(dir=base)) / "case"
    folder.mkdir()
    for path in (*base.glob("model.ckpt.*"), base / "data.npz"):
        shutil.copy(path, folder)
    build(template, op, place, folder)
    return folder


def warm() -> None:
    """Import what commands do, so that forks have it."""
    import tensorflow  # noqa: F401

    from ckpttool.cli import COMMANDS as ALL
    from ckpttool.cli import main as tool

    for name in ALL:
        tool.get_command(None, name)  # type: ignore[arg-type]


def work(todo: list[Trial], base: Path, template: MetaGraphDef, out: Path) -> None:
    """Do some trials, and write how each ended."""
    lines = []
    for op, place, command in todo:
        folder = case(base, template, op, place)
        before = {path.name for path in folder.iterdir()}
        with watched(folder) as touched:
            code, said = run(COMMANDS[command], folder)
        outputs = sorted({path.name for path in folder.iterdir()} - before)
        how = verdict(op, command, code, said, touched, outputs)
        lines.append("\t".join((how, op, place, command, " ".join(said.split())[-200:])))
        shutil.rmtree(folder.parent)
    out.with_suffix(".txt").write_text("\n".join(lines))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], metavar="COMMAND")
    parser.add_argument("--all", action="store_true", help="every op in every place by every command: hours")
    parser.add_argument("--every", type=int, default=1, help="only every Nth trial")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    asked = arguments()
    start = time.monotonic()
    logging.disable(logging.WARNING)
    counted = trials(plan(asked.all, asked.commands or list(COMMANDS))[:: asked.every], asked.jobs)
    total, bad = sum(counted.values()), sum(n for how, n in counted.items() if not how.startswith("refused"))
    print(f"{total} trials in {time.monotonic() - start:.0f} s, {bad} bad; {dict(counted)}")
    sys.exit(bad > 0)
