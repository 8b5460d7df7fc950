"""Configs that would act are rejected by `Model.open` before Keras or TensorFlow is imported; a canary stays."""

import json
import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

OPENED = """
import sys
from ckpttool.core.errors import CkptError
from ckpttool.model.model import Model
try:
    Model.open(sys.argv[1])
except CkptError as error:
    print(error)
print([name for name in ("keras", "tensorflow", "canary") if name in sys.modules])
"""


def layer(kind: str, config: dict[str, Any], module: str = "keras.layers") -> dict[str, Any]:
    return {"module": module, "class_name": kind, "config": {"name": "evil", **config}, "registered_name": None}


LAMBDA = layer("Lambda", {"function": {"class_name": "__lambda__", "config": {"code": "4wEA"}}})
HOSTILE = {
    "bytecode": (LAMBDA, "Lambda"),
    "wrapped": (layer("TimeDistributed", {"layer": layer("Bidirectional", {"layer": LAMBDA})}), "Lambda"),
    "module": (layer("Canary", {}, "canary"), "canary.Canary"),
    "file": (layer("StringLookup", {"vocabulary": "file:///etc/passwd"}), "vocabulary"),
    "server": (layer("Dense", {"units": 2, "note": "http://127.0.0.1:1/x"}), "server"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_config_is_refused_before_anything_is_imported(name: str, tmp_path: Path) -> None:
    hostile, said = HOSTILE[name]
    (tmp_path / "canary.py").write_text(f"open({str(tmp_path / 'dead')!r}, 'w')\n")
    config = {**layer("Sequential", {"layers": [hostile]}, "keras")}
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
        archive.writestr("model.weights.h5", b"")

    path = [str(tmp_path), *sys.path]
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{OPENED}", str(tmp_path / "net.keras")],
        capture_output=True,
        text=True,
        check=True,
    )

    message, imported = run.stdout.splitlines()
    assert said in message
    assert imported == "[]"
    assert not (tmp_path / "dead").exists()


COMMAND = """
import sys
from ckpttool.cli import main
try:
    main(sys.argv[1:])
finally:
    print([name for name in ("keras", "tensorflow") if name in sys.modules])
"""
MOST_SECONDS = 5
"""Processor time, including Python's start."""


def called(name: str, *sources: str) -> dict[str, Any]:
    nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
    return {**layer("Dense", {"units": 1, "name": name}), "name": name, "inbound_nodes": nodes}


def network(*layers: dict[str, Any]) -> str:
    ends = {"input_layers": [["in", 0, 0]], "output_layers": [["d0", 0, 0]]}
    given = {**layer("InputLayer", {"name": "in", "batch_shape": [None, 1]}), "name": "in", "inbound_nodes": []}
    return json.dumps(layer("Functional", {"layers": [given, *layers], **ends}, "keras"))


SIZES = {
    "a million layers": (
        lambda: network().replace(
            '"layers": [', '"layers": [' + 1_000_000 * '{"class_name": "Dense", "config": {"name": "d"}},'
        ),
        "bytes, at most 16777216 is allowed",
    ),
    "a hundred thousand layers": (
        lambda: network().replace('"layers": [', '"layers": [' + 100_000 * '{"class_name": "Dense", "config": {}},'),
        "more than 10000 layers",
    ),
    "too many calls": (lambda: network(called("d0", *250_000 * ["in"])), "at most 1000000 are read"),
    "a circle": (
        lambda: network(called("d0", "d1"), called("d1", "d0")),
        "connected in a cycle, which contains or leads to d0",
    ),
    "a layer on itself": (lambda: network(called("d0", "d0")), "connected in a cycle, which contains or leads to d0"),
    "a long circle": (
        lambda: network(*(called(f"d{n}", f"d{(n - 1) % 9000}") for n in range(9000))),
        "connected in a cycle",
    ),
    "a deep one": (lambda: 100_000 * '{"class_name":"Sequential","config":{"layers":[' + 100_000 * "]}}", "too deeply"),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_command_line_refuses_what_has_no_end_in_a_few_seconds(name: str, tmp_path: Path) -> None:
    config, said = SIZES[name]
    with zipfile.ZipFile(tmp_path / "net.keras", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("config.json", config())
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.0"}))
        archive.writestr("model.weights.h5", b"")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    command = [sys.executable, "-c", COMMAND, "freeze", str(tmp_path / "net.keras"), "--layers", "d", "-o", "x.keras"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert said in run.stderr
    assert run.stdout.splitlines() == ["[]"]
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < MOST_SECONDS
