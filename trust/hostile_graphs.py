"""Graphs that act: one for each op that TensorFlow's registry has and the list refuses, in every place.

In a model, the logits depend on the op (directly, in called or mapped functions, in branches and loops, in a
conditional on a variable), or it is elsewhere (in update ops, initialisers, savers, main ops). Commands are run on it
one after the other, in a process whose folder is watched: no canary may be touched, the process must not die, and
commands that would run the op must refuse. `scan` must find each op, and so everything that any command refuses.
`.keras` files with hostile configs follow. First, WriteFile is allowed once, to check that the watch notices it.

    python trust/hostile_graphs.py [--every N] [--seconds S] [--seed S]
"""

import argparse
import contextlib
import ctypes
import io
import json
import logging
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import hostile_models as models

from ckpttool.cli import COMMANDS as ALL
from ckpttool.cli import main
from ckpttool.verbs.scan import scan

RUNNING = {
    "evaluate": "evaluate model.ckpt --data data.npz",
    "predict": "predict model.ckpt --data data.npz -o predicted.npz",
    "cache": "cache model.ckpt --freeze hidden1 --data data.npz --cache-dir kept",
    "finetune": "finetune model.ckpt --data data.npz --epochs 1 -o tuned.ckpt",
    "finetune --optimizer": "finetune model.ckpt --data data.npz --optimizer sgd(0.1) --epochs 1 -o tuned2.ckpt",
    "finetune --train-op": "finetune model.ckpt --data data.npz --train-op GradientDescent --epochs 1 -o tuned3.ckpt",
    "diagnose": "diagnose model.ckpt --data data.npz",
    "lr-find": "lr-find model.ckpt --data data.npz",
    "search --quick": "search model.ckpt --data data.npz --quick",
    "search": "search model.ckpt --data data.npz --head fc=dense(3) --seeds 1 --folds 2 --epochs 1 -o found.ckpt",
    "import --check": "import weights.npz --into model.ckpt --check sample.npz -o checked.ckpt",
    "merge --how soup": "merge model.ckpt model.ckpt --how soup --data data.npz -o soup.ckpt",
    "merge --alpha": "merge plain.ckpt model.ckpt --alpha 0:1:0.5 --data data.npz -o between.ckpt",
    "report --data": "report model.ckpt --data data.npz -o page.html",
    "pretrain --from": "pretrain --from model.ckpt --data data.npz --method autoencoder --layers h=dense(3) --epochs 1 "
    "-o pretrained.ckpt",
    "finetune --teacher": "finetune plain.ckpt --teacher model.ckpt --data data.npz --epochs 1 -o taught.ckpt",
    "finetune --pseudo-label": "finetune model.ckpt --data data.npz --pseudo-label 0.2 --unlabelled data.npz "
    "--epochs 1 -o pseudo.ckpt",
    "check": "check model.ckpt --data data.npz --min-accuracy 0",
    "evaluate --baseline": "evaluate plain.ckpt --data data.npz --max-drop 1 --baseline model.ckpt",
}
REWRITING = {
    "import": "import weights.npz --into model.ckpt -o imported.ckpt",
    "reuse": "reuse model.ckpt --layers outputs -o reused.ckpt",
    "reuse --head": "reuse model.ckpt --layers hidden1 --head fc=dense(3) -o headed.ckpt",
    "freeze": "freeze model.ckpt --layers hidden1 -o frozen.ckpt",
    "strip": "strip model.ckpt -o stripped.ckpt",
    "fold": "fold model.ckpt --outputs outputs/logits -o folded.pb",
    "modernize": "modernize model.ckpt -o modern.ckpt",
    "export-saved-model": "export-saved-model model.ckpt -o exported",
}
"""Commands that treat a graph as data, and may write a hostile one."""
OF_SERVED = {
    "predict": "predict served --data data.npz -o predicted.npz",
    "cache": "cache served --freeze hidden1 --data data.npz --cache-dir kept",
    "reuse --head": "reuse served --layers hidden1 --head fc=dense(3) -o headed.ckpt",
    "strip": "strip served -o stripped.ckpt",
    "fold": "fold served -o folded.pb",
    "export-saved-model": "export-saved-model served -o exported",
}
OF_KERAS = (
    *("predict net.keras --data data.npz -o p.npz", "evaluate net.keras --data data.npz", "fold net.keras -o f.pb"),
    *("finetune net.keras --data data.npz --epochs 1 -o t.keras", "freeze net.keras --layers a -o f.keras"),
    *("reuse net.keras --layers a -o r.keras", "export-saved-model net.keras -o e", "strip net.keras -o s.keras"),
)
LONG = (
    *(
        "search",
        "lr-find",
        "diagnose",
        "cache",
        "merge --how soup",
        "merge --alpha",
        "report --data",
        "pretrain --from",
    ),
    *("finetune --teacher", "finetune --pseudo-label", "check", "evaluate --baseline"),
)
"""Commands that are not tried in places where they would do all their work, because others run the same code."""
KINDS = (
    *("WriteFile", "ReadFile", "SaveV2", "RestoreV2", "MergeV2Checkpoints", "PrintV2", "DebugIdentity", "Abort"),
    *("ImmutableConst", "DatasetFromGraph", "PyFunc", "InitializeTableFromTextFileV2", "CreateSummaryFileWriter"),
)
"""One op of each hostile kind, which are tried in the places where commands do all their work."""
SECONDS, IN_ONE_PROCESS = 100, 5
SEEN = 0x20 | 0x2 | 0x100 | 0x200 | 0x40 | 0x80
"""inotify: opened, modified, created, deleted, moved."""
GOOD = ("refused", "done without it", "refused for another reason")


class Canaries:
    """Watches the files in a folder whose names begin with `canary`."""

    def __init__(self, folder: Path) -> None:
        """Start watching."""
        self._system = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._system.inotify_init1(os.O_NONBLOCK)
        self._system.inotify_add_watch(self._descriptor, os.fsencode(folder), SEEN)

    def touched(self) -> list[str]:
        """Return the files that were touched since the last call."""
        names = []
        with contextlib.suppress(BlockingIOError):
            data, at = os.read(self._descriptor, 1 << 20), 0
            while at < len(data):
                length = struct.unpack_from("iIII", data, at)[3]
                names.append(data[at + 16 : at + 16 + length].rstrip(b"\0").decode())
                at += 16 + length
        return sorted({name for name in names if name.startswith("canary")})

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)


def run(line: str) -> tuple[int | str, str]:
    """Run a command; return its exit code (or its uncaught exception), and its error output."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            main(line.split())
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1, said.getvalue()
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return repr(error), said.getvalue()
    return 0, said.getvalue()


def verdict(place: str, runs: bool, code: int | str, said: str, touched: list[str], found: bool) -> str:
    """Return the outcome of a trial."""
    if touched:
        return f"touched: {touched}"
    if isinstance(code, str):
        return f"a traceback: {code}"
    if "can have side effects" in said:
        return "refused" if found else "refused, and scan finds nothing"
    if code != 0:
        return "refused for another reason"
    return "it was run" if runs and place.removeprefix("served ") in models.ON_THE_WAY else "done without it"


def trials_of(op: str, place: str, base: Path, templates: dict[str, Any], started: Any) -> Iterator[tuple[str, ...]]:
    """Try all commands on a model with an op in a place; yield the outcomes."""
    folder = Path(tempfile.mkdtemp(dir=base, prefix="case"))
    shutil.copytree(base / "harmless", folder, dirs_exist_ok=True)
    models.write(templates, op, place, folder)
    os.chdir(folder)
    found = any(
        each.what == op for each in scan([Path(models.SERVED if "served" in place else "model.ckpt.meta")]).found
    )
    if not found:
        yield "scan does not find it", op, place, "scan", ""
    canaries = Canaries(folder)
    commands = OF_SERVED if "served" in place else RUNNING | (REWRITING if op in KINDS else {})
    for name in commands if place in models.ON_THE_WAY else [each for each in commands if each not in LONG]:
        started(op, place, name)
        code, said = run(commands[name])
        runs = name in RUNNING
        how = verdict(place, runs, code, said, canaries.touched(), found)
        yield how, op, place, name, " ".join(said.split())[-200:]
    canaries.close()
    os.chdir(base)
    shutil.rmtree(folder)


def in_processes(
    todo: list[tuple[str, str]], base: Path, templates: dict[str, Any], until: float
) -> Iterator[list[str]]:
    """Try ops in their places, several per process; if one dies, yield that with its last command."""
    rest = iter(todo)
    while (some := list(islice(rest, IN_ONE_PROCESS))) and time.monotonic() < until:
        log = base / "log"
        log.write_text("")
        if (child := os.fork()) == 0:
            with log.open("a", buffering=1) as lines:

                def started(*what: str) -> None:
                    signal.alarm(SECONDS)
                    print("at", *what, sep="\t", file=lines)

                for op, place in some:
                    for trial in trials_of(op, place, base, templates, started):
                        print(*trial, sep="\t", file=lines)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        told = [line.split("\t") for line in log.read_text().splitlines()]
        yield from (each for each in told if each[0] != "at")
        if status:
            yield [f"the process ended by {status}", *(told[-1][1:] if told else ())]


def keras_trials(base: Path) -> Iterator[list[str]]:
    """Try `.keras` files with hostile configs, or with names of hostile modules."""
    folder = Path(tempfile.mkdtemp(dir=base, prefix="keras"))
    shutil.copy(base / "harmless" / "data.npz", folder)
    (folder / "canary").write_text("secret")
    (folder / "canary_module.py").write_text(f"open({str(folder / 'canary_new')!r}, 'w')\n")
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    canaries = Canaries(folder)

    def layer(kind: str, config: dict[str, Any], module: str = "keras.layers") -> dict[str, Any]:
        return {"module": module, "class_name": kind, "config": {"name": "a", **config}, "registered_name": None}

    code = layer("Lambda", {"function": {"class_name": "__lambda__", "config": {"code": "4wEA"}}})
    call = {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"}
    hostile = {
        "Lambda": code,
        "wrapped Lambda": layer("TimeDistributed", {"layer": layer("Bidirectional", {"layer": code})}),
        "a module": layer("Canary", {}, "canary_module"),
        "a function": layer("Dense", {"units": 3, "activation": call}),
        "a function of a module": layer("Dense", {"units": 3, "activation": {**call, "module": "canary_module"}}),
        "run by get_file": layer("get_file", {"fname": "x", "origin": f"file://{folder}/canary"}, "keras.utils"),
        "unsafe deserialisation": layer("enable_unsafe_deserialization", {}, "keras.config"),
        "TFSMLayer": layer("TFSMLayer", {"filepath": str(folder / "canary")}),
        "TorchModuleWrapper": layer("TorchModuleWrapper", {"module": "gASVAA=="}),
        "a vocabulary": layer("StringLookup", {"vocabulary": str(folder / "canary")}),
        "a URL": layer("Dense", {"units": 2, "note": "http://127.0.0.1:1/x"}),
        "an initialiser": layer("Dense", {"units": 3, "kernel_initializer": layer("Canary", {}, "canary_module")}),
        "a registered name": {**layer("Canary", {}, ""), "registered_name": "canary_module>Canary"},
        "compiled": layer("Dense", {"units": 3}),
    }
    for name, each in hostile.items():
        config = layer("Sequential", {"layers": [each]}, "keras")
        if name == "compiled":
            config["compile_config"] = {"optimizer": layer("Canary", {}, "canary_module"), "loss": call}
        with zipfile.ZipFile("net.keras", "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
            archive.writestr("model.weights.h5", b"")
        found = bool(scan([Path("net.keras")]).found)
        for line in OF_KERAS:
            code_, said = run(line)
            touched = [*canaries.touched(), *(["canary_module"] if "canary_module" in sys.modules else [])]
            bad = touched or isinstance(code_, str) or code_ == 0 or not found
            yield [
                f"bad: {touched} {code_} {found}" if bad else "refused",
                name,
                "keras",
                line,
                " ".join(said.split())[-200:],
            ]
    canaries.close()


def require_canaries(base: Path, templates: dict[str, Any]) -> None:
    """Check that a touched canary is noticed, by allowing WriteFile."""
    folder = Path(tempfile.mkdtemp(dir=base, prefix="first"))
    shutil.copytree(base / "harmless", folder, dirs_exist_ok=True)
    models.write(templates, "WriteFile", "plain", folder)
    os.chdir(folder)
    canaries = Canaries(folder)
    if (child := os.fork()) == 0:  # after TensorFlow has run, a process cannot be forked
        code, said = run(f"{RUNNING['evaluate']} --allow-op WriteFile")
        print(said if code else "", file=sys.stderr)
        os._exit(code != 0)
    if os.waitpid(child, 0)[1] or not canaries.touched():
        raise SystemExit("the canaries are not watched")
    canaries.close()


def plan(every: int, seed: int) -> list[tuple[str, str]]:
    """Return the pairs of ops and places in random order, so that any number of them is a sample."""
    ops = {place: models.refused_ops() if place in models.ON_THE_WAY else KINDS for place in models.PLACES}
    todo = [(op, place) for place in models.PLACES for op in ops[place]]
    random.Random(seed).shuffle(todo)
    return todo[::every]


def attack(todo: list[tuple[str, str]], seconds: float) -> Counter[str]:
    """Run the planned trials, and count the outcomes; bad ones are printed."""
    counts, base = Counter[str](), Path(tempfile.mkdtemp(prefix="ckpttool-hostile-"))
    (base / "harmless").mkdir()
    os.chdir(base / "harmless")
    templates = models.harmless(base / "harmless", run)
    for name in ALL:
        main.get_command(None, name)  # type: ignore[arg-type]
    require_canaries(base, templates)
    until = time.monotonic() + seconds
    for told in (in_processes(todo, base, templates, until), keras_trials(base)):
        for how, *what in told:
            counts[how if how in GOOD else "bad"] += 1
            if how not in GOOD:
                print(how, *what, sep="\t", flush=True)
    os.chdir("/")
    shutil.rmtree(base)
    return counts


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="only every Nth op in a place; all take hours")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin nothing more after so many")
    parser.add_argument("--seed", type=int, default=0, help="what the order comes from")
    return parser.parse_args()


if __name__ == "__main__":
    asked, start = arguments(), time.monotonic()
    logging.disable(logging.WARNING)
    counted = attack(plan(asked.every, asked.seed), asked.seconds)
    total, bad = sum(counted.values()), counted["bad"]
    note = ", ".join(f"{count} {how}" for how, count in counted.most_common() if how != "bad")
    note += f"; {len(models.refused_ops())} ops, {len(models.PLACES)} places, {time.monotonic() - start:.0f} s"
    print(json.dumps({"figure": "models with side effects", "tried": total, "bad": bad, "note": note}))
    sys.exit(bad > 0)
