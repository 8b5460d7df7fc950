"""Configs that would act are refused through `Model.open` before Keras or TensorFlow is imported; a canary stays."""

import json
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
