"""Files of ckpttool's own next to models: caches, staged rows, saves, reports, lineages, studies, and models.

Each is made in a folder, and read as the commands do. Nothing of a damaged file may be used: if its content is computed
again, or it is rejected, the damage counts as found.
"""

import hashlib
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import samples

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Tensor
from ckpttool.data.feature_files import write_json
from ckpttool.data.feature_store import FeatureStore
from ckpttool.searching.configurations import Block, Configuration, Outcome
from ckpttool.searching.study import Study

sys.path.insert(0, str(samples.ROOT / "tests" / "formats"))
import fuzz_graphs
import fuzz_records

RECORDS: Any = fuzz_records
"""The tests' functions that make and read such files."""
ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
QUESTION = {"head": "outputs = dense(5)", "data": "88036c"}


class Kept(NamedTuple):
    """The functions that make it in a folder, and read it and return the content; and the files to damage."""

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    files: str = "**/*"


def outcome(kept: Kept, folder: Path) -> str:
    """Return the content as text, equal only if all is equal; errors begin with `refused`."""
    try:
        found = kept.read(folder)
    except (CkptError, OSError) as error:
        return f"refused: {error}"
    if found is None:
        return "refused: it is not there"
    return hashlib.blake2b(repr(found).encode(errors="surrogateescape"), digest_size=16).hexdigest()


def _values(tensors: Any) -> list[object]:
    return [(name, tensors[name].read().tolist()) for name in tensors]


def _fill(folder: Path) -> None:
    with FeatureStore(folder).entry("k").fill({"w": (np.float32, (3,)), "v": (np.int8, ())}, 2) as writer:
        writer.append({"w": ROWS, "v": np.array([1, 2], np.int8)})
        writer.finish()


def _features(folder: Path) -> object:
    return {name: array.tolist() for name, array in FeatureStore(folder).entry("k").open().items()}


def _half_filled(folder: Path) -> None:
    with FeatureStore(folder).entry("k").fill({"w": (np.float32, (3,))}, 4) as writer:
        writer.append({"w": ROWS})


def _goes_on(folder: Path) -> object:
    """Return from which row a fill would resume, and on which rows; from the first one if nothing was used."""
    path = folder / "k"
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with FeatureStore(folder).entry("k").fill({"w": (np.float32, (3,))}, 4) as writer:
        row = writer.resume_row
        whole = (path / "00000.npy").read_bytes()
    for name, data in before.items():
        (path / name).write_bytes(data)
    return (row, whole) if row else None


def _stage(folder: Path) -> None:
    from dataclasses import asdict

    from ckpttool.data import staging

    with staging.RowWriter(folder / "x.npy", (3,), np.float32) as writer:
        writer.append(ROWS)
    facts = staging.Facts(["a note"], ["cat", "dog"], {"train": ["a.png", "b.png"]})
    write_json(folder / "facts.json", {**asdict(facts), "files_crc32c": staging._checksums(folder)})


def _staged(folder: Path) -> object:
    from ckpttool.data import staging

    facts = staging._whole(folder)
    return facts and (facts, np.load(folder / "x.npy").tolist())


def _model(folder: Path) -> None:
    from ckpttool.graph.core import Graph
    from ckpttool.model.model import write_model

    source = fuzz_graphs.MetaGraphDef.FromString(fuzz_graphs.meta())
    write_model(Graph(source, "x"), {"w": Tensor.of("w", ROWS[0, :2])}, folder / "m.ckpt", False)


def _opened(folder: Path) -> object:
    from ckpttool.model.model import Model

    model = Model.open(folder / "m.ckpt")
    return model.graph.meta.SerializeToString(deterministic=True), _values(model.checkpoint)


def _report(folder: Path) -> None:
    from ckpttool.training.run_report import write_report

    write_report(folder / "m.ckpt", fuzz_records.json.loads(fuzz_records.REPORT))


def _reported(folder: Path) -> object:
    from ckpttool.training.run_report import RunReport

    return RunReport.parse((folder / "m.ckpt.run.json").read_bytes(), Path("m"))


def _lineage(folder: Path) -> None:
    samples.bundle(folder / "a.ckpt")
    checkpoint.save(checkpoint.open(folder / "a.ckpt"), folder / "b.ckpt", "bundle")


def _told(folder: Path) -> object:
    from ckpttool.lineage.storage import read_lineage

    return read_lineage(folder / "b.ckpt.lineage.json")


def _study(folder: Path) -> None:
    with Study.open(folder / "x.study", QUESTION) as study:
        for seed in range(2):
            scores = np.array([1.0, 0.0, 1.0]) if seed else np.array([0.25, 1.0])
            rows = np.arange(len(scores))
            study.add(Configuration(2, 1), Block(seed), Outcome(scores, 2.5, 3, "done", "why", rows))
    database = sqlite3.connect(folder / "x.study")  # smaller, because each of its bits is tried
    for statement in ("journal_mode = DELETE", "page_size = 512"):
        database.execute(f"PRAGMA {statement}")
    database.execute("VACUUM")
    database.close()


def _listed(rows: Any) -> object:
    return None if rows is None else rows.tolist()


def _trials(folder: Path) -> object:
    path = folder / "x.study"
    try:
        with Study.open(path, QUESTION) as study:
            return [
                (
                    c,
                    b,
                    o.correct.tolist(),
                    o.seconds,
                    o.epochs,
                    o.state,
                    o.reason,
                    o.accuracy,
                    np.array(o.rows).tolist(),
                )
                for c, blocks in study.outcomes.items()
                for b, o in blocks.items()
            ] or None
    finally:
        for end in ("-wal", "-shm", "-journal"):
            path.with_name(f"{path.name}{end}").unlink(missing_ok=True)


def _saves(folder: Path) -> Any:
    from ckpttool.training.saves import Saves

    return Saves(folder / "x", None, 1, {"seed": 1, "valid": None, "group": None})


def _save(folder: Path) -> None:
    from ckpttool.graph.core import Graph
    from ckpttool.training.run import Epoch, Position
    from ckpttool.training.saves import KeptWeights as KeptEpoch

    graph = Graph(fuzz_graphs.MetaGraphDef.FromString(fuzz_graphs.meta()), "x")
    tensors = {"w": Tensor.of("w", ROWS[0, :2])}
    epoch = Epoch(1, 0.5, 0.25, 0.75, 0.1, 2, 1e-5)
    position = Position(2, 1, 3, 0.5, 0.125, [epoch])
    _saves(folder).write(graph, tensors, position, KeptEpoch(epoch, graph, tensors, ("w",)))


def _resumed(folder: Path) -> object:
    from ckpttool.model.model import Model

    saved = _saves(folder).latest()
    if saved is None:
        return None
    model = Model.open(folder / "x.saves" / "step-00000003.ckpt")
    kept = saved.kept and (
        saved.kept.epoch,
        saved.kept.graph.meta.SerializeToString(deterministic=True),
        _values(saved.kept.tensors),
        saved.kept.frozen,
    )
    return saved.position, _values(saved.tensors), kept, model.graph.meta.SerializeToString(deterministic=True)


ALL = {
    "features of a cache": Kept(_fill, _features),
    "a fill that was interrupted": Kept(_half_filled, _goes_on),
    "staged rows": Kept(_stage, _staged),
    "a model": Kept(_model, _opened),
    "a report": Kept(_report, _reported),
    "a lineage": Kept(_lineage, _told, "*.lineage.json"),
    "a study": Kept(_study, _trials),
    "saves of a run": Kept(_save, _resumed),
}
