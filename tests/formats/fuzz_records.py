"""Records: ckpttool's own files, next to models or elsewhere, and its users' files; JSON checksums are repaired."""

import contextlib
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
from crafted import write
from fuzz_checkpoints import bundle_of_one
from fuzz_graphs import meta
from fuzz_target import ARRAY, Target, checked, one_file, scanned

from ckpttool.cli.options.config import _read as read_config
from ckpttool.core.patterns import Pattern
from ckpttool.data.class_files import read_class_names
from ckpttool.data.feature_store import FeatureStore
from ckpttool.data.preprocessing import Preprocessing
from ckpttool.foreign.rules import moves, read_rules
from ckpttool.formats.wire import crc
from ckpttool.formats.writing.staging import COMMITTED, settle
from ckpttool.formats.writing.staging import MANIFEST as COMMIT
from ckpttool.formats.writing.temporary import WriterProcess
from ckpttool.lineage.records import Record
from ckpttool.lineage.storage import read_lineage
from ckpttool.runtime.layers import Layer
from ckpttool.searching.configurations import Block, Configuration, Outcome
from ckpttool.searching.study import Study
from ckpttool.searching.study_file import checksum
from ckpttool.training.defaults import as_begun
from ckpttool.training.options import Options
from ckpttool.training.run import Epoch, best_of
from ckpttool.training.run_report import RunReport, read_part
from ckpttool.training.saves import Saves
from ckpttool.verbs.log import History

LINEAGE = (
    b'{"output":{"path":"x","format":"npz","hash":"sha256:0","files":["x"]},"records":[{"command":"convert","arguments":'
    b'["a"],"sources":[],"steps":[],"versions":{},"date":"2026","framework":null}],"left_out":0}'
)

SOURCE = {"path": "a.npz", "format": "npz", "hash": "sha256:0", "files": ["a.npz"]}
TOLD = {"arguments": ["a.npz"], "versions": {"ckpttool": "1"}, "date": "2026", "framework": None}


def history() -> bytes:
    """Return a lineage of two commands that were steps of plans."""
    edits = [{"rename": "fc=>out", "as": "b"}, {"assert": "out", "shape": ["?", 3], "equals": "a", "on": "b"}]
    edit = Record.from_json(
        {"command": "edit", "sources": [SOURCE], "steps": ["x"], **TOLD, "plan": {"sources": [0], "step": edits}}
    )
    merge = {"merge": ["a", "b"], "how": "linear", "weights": [1, 0.5]}
    plan = {"sources": [0, 1], "step": [merge]}
    merged = {"command": "merge", "sources": [SOURCE, SOURCE], "steps": [], **TOLD, "makers": [edit.id, None]}
    records = [edit.as_json(), {**merged, "plan": plan}]
    return json.dumps({"output": {**SOURCE, "path": "x.npz"}, "records": records, "left_out": 1}).encode()


def with_output(folder: Path, part: bytes) -> Path:
    """Write a lineage next to its output."""
    np.savez(folder / "x.npz", w=ARRAY)
    return one_file("x.lineage.json", checked)(folder, part)


def tell(path: Path) -> None:
    """Print the history of a lineage, as `log` does, and its plan."""
    told = History(path.with_name("x.npz"), read_lineage(path)[0], None)
    list(told.lines())
    json.dumps(told.as_json())
    assert told.leaves_graph in (True, False)
    list(told.plan_lines())


def entry_of_cache(folder: Path, part: bytes) -> Path:
    store = FeatureStore(folder / "features")
    if not (folder / "features").exists():
        with store.entry("k").fill({"w": (np.float32, (3,))}, 2) as writer:
            writer.append({"w": ARRAY})
    (folder / "features" / "k" / "manifest.json").write_bytes(checked(part))
    return folder / "features"


MANIFEST = json.dumps(
    {
        "format": 1,
        "key": "k",
        "rows": 2,
        "tensors": [{"name": "w", "file": "00000.npy", "dtype": "float32", "row_shape": [3], "crc32c": 0}],
    }
).encode()


def study() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with Study.open(Path(folder, "x"), {"head": "dense(5)"}) as opened:
            opened.add(Configuration(2, 1), Block(0), Outcome(np.array([1.0, 0.0]), seconds=2.5))
        return Path(folder, "x").read_bytes()


def read_study(path: Path) -> None:
    try:
        Study.open(path, {"head": "dense(5)"}).close()
    finally:
        for end in ("-wal", "-shm", "-journal"):
            path.with_name(f"{path.name}{end}").unlink(missing_ok=True)


TRIAL = json.dumps(
    {"keep": 2, "freeze": 1, "seed": 0, "fold": 0, "state": "done", "accuracy": 0.5, "seconds": 2.5, "epochs": 3}
    | {"reason": "", "judged": 4, "correct": [1, 0, 1, 0]}
).encode()


COST = ("state", "seconds", "epochs", "reason", "judged")


def trial_of(folder: Path, part: bytes) -> Path:
    """Write a study whose trial is the part, with the right checksum; one that SQLite rejects is skipped."""
    with contextlib.suppress(ValueError, TypeError, LookupError, OverflowError, AttributeError, sqlite3.Error):
        facts = json.loads(part)
        facts["correct"] = bytes(facts["correct"])
        told = [facts[name] for name in (*Configuration.__match_args__, "seed", "fold", *COST)]
        (folder / "x").write_bytes(study())
        with contextlib.closing(sqlite3.connect(folder / "x")) as database, database:
            database.execute("DELETE FROM trials")
            row = [*facts.values(), checksum(told, facts["correct"])]
            names = ", ".join((*facts, "checksum"))
            database.execute(f"INSERT INTO trials ({names}) VALUES ({', '.join('?' * len(row))})", row)
    return folder / "x"


STATE = json.dumps(
    {
        "position": {
            "epoch": 2,
            "batch": 1,
            "step": 3,
            "total": 0.5,
            "seconds": 0.1,
            "history": [
                {
                    "epoch": 1,
                    "loss": 0.5,
                    "valid_loss": 0.5,
                    "valid_accuracy": None,
                    "seconds": 0.1,
                    "step": 2,
                    "learning_rate": None,
                }
            ],
        },
        "kept": {
            "prefix": "best-0001.ckpt",
            "epoch": {"epoch": 1, "loss": 0.5, "valid_loss": 0.5, "valid_accuracy": None, "seconds": 0.1},
            "frozen": ["w"],
        },
        "asked": {"valid": None, "group": None, "batch_size": 8},
    }
).encode()


def save_of_a_run(folder: Path, part: bytes) -> Path:
    saves = folder / "x.saves"
    if not saves.exists():
        saves.mkdir()
        for name in ("step-00000003.ckpt", "best-0001.ckpt"):
            write(saves, bundle_of_one()).with_suffix("")
            for file in saves.glob("x.*"):
                file.rename(saves / file.name.replace("x.", f"{name}.", 1))
            (saves / f"{name}.meta").write_bytes(meta())
    (saves / "step-00000003.state.json").write_bytes(checked(part))
    return folder / "x"


PART = json.dumps(
    {
        "history": [{"epoch": 1, "loss": 0.5, "valid_loss": 0.5, "valid_accuracy": None, "seconds": 0.1}],
        "kept_epoch": 1,
        "best_epoch": 1,
        "plan": [],
        "unchanged": ["w"],
        "data": {"path": "d.npz", "classes": ["cat"]},
        "options": {"lr": 0.1, "batch_size": 8, "valid": "20%", "optimizer": None, "preprocess": None},
    }
).encode()


def read_stage(path: Path) -> None:
    """Read the report of a stage, and the state to resume from."""
    report = read_part(path.with_name("x"))
    as_begun(Options(), report["options"])
    best_of([Epoch(**each) for each in report["history"]])


REPORT = json.dumps(
    {
        "model": "m.ckpt",
        "data": {
            "path": "d.npz",
            "fingerprint": {"train": "1f"},
            "held_out": {"rule": "20%", "group": None, "seed": 1},
            "preprocess": "scale(1/255)",
        },
        "options": {"learning_rate": 0.1, "valid": "20%", "epochs": 3},
    }
).encode()
RULES = b"""# a rule
fc(\\d)/(weight|bias) => hidden\\1/\\2
drop.* =>
"""
TOML_RULES = b"""[[rule]]
from = ["a/(.*)", "b/(.*)"]
to = 'c/\\1'
transform = "keep"
[[rule]]
from = "drop"
drop = true
"""
TOML = b"""freeze = "hidden[12]"
learning_rate = 1e-4
shape = [28, 28]
[relative_rates]
"hidden1" = 0.1
"""


def read_rules_of(path: Path) -> None:
    moves(["fc1/weight", "a/x", "b/x", "drop"], read_rules(path))


def commit(folder: Path, part: bytes) -> Path:
    """Write the files of a killed run that had committed its output: the part lists them, as JSON."""
    shutil.rmtree(folder / COMMITTED, ignore_errors=True)
    (folder / COMMITTED).mkdir()
    (folder / COMMITTED / "x").write_bytes(b"new")
    text = b'{"host":%s,' % json.dumps(WriterProcess.current().host).encode() + part
    (folder / COMMITTED / COMMIT).write_bytes(b"%08x %s\n" % (crc.extend(0, text), text))
    return folder / "x"


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


NAMES = ["a/b", "layer_12/attention/query/kernel", "a" * 300, "/".join(["block"] * 60)]
STAYS = {"valid": None, "group": None, "batch_size": 8}
TARGETS: dict[str, Target] = {
    "lineage": Target(LINEAGE, one_file("x.lineage.json", checked), scanned(read_lineage)),
    "plan of a lineage": Target(history(), with_output, tell),
    "report of a run": Target(
        REPORT, one_file("x.run.json", checked), scanned(lambda path: RunReport.parse(path.read_bytes(), path))
    ),
    "configuration in TOML": Target(TOML, one_file("x.toml"), scanned(read_config)),
    "rules": Target(RULES, one_file("x.rules"), read_rules_of),
    "rules in TOML": Target(TOML_RULES, one_file("x.toml"), read_rules_of),
    "preprocessing": Target(
        b"scale(1/127.5, -1); bgr(); images/age: none",
        one_file("x.txt"),
        lambda path: Preprocessing.parse(text_of(path)),
    ),
    "layers in calls": Target(
        b"hidden4 = dense(20, leaky_relu(0.2), init=he); outputs = dense(units=10)",
        one_file("x.txt"),
        lambda path: Layer.read_all(text_of(path), "`head`"),
    ),
    "pattern": Target(
        b"(a|b/)*/[^/]{2,3}kernel|layer_(?=1)\\d+/.*",
        one_file("x.txt"),
        lambda path: Pattern(text_of(path)).select(NAMES),
    ),
    "names of classes": Target(b'{"1": ["n02", "pug"], "0": ["n01", "tabby"]}', one_file("x.txt"), read_class_names),
    "manifest of a cache": Target(
        MANIFEST, entry_of_cache, lambda path: FeatureStore(path).entry("k").open(verify=False)
    ),
    "study": Target(study(), one_file("x.study"), read_study),
    "trial of a study": Target(TRIAL, trial_of, read_study),
    "report of a stage": Target(PART, one_file("x.run.json", checked), read_stage),
    "state of a run": Target(STATE, save_of_a_run, lambda path: Saves(path, None, 1, STAYS).latest()),
    "manifest of a commit": Target(b'"files":{"x":1},"gone":{"y":[2,3,4]}}', commit, settle),
}
