"""Findings in files other than graphs: pickles, Keras configs, HDF5, zips, links and records."""

import io
import json
import os
import pickle
import time
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.scanning.finding import Finding
from ckpttool.scanning.walk import scan
from tests.hostile_models import acting, graph


def found(*paths: Path) -> list[tuple[str, str, str]]:
    """The kind, what, and severity of each finding; everything must be readable."""
    result = scan(paths)
    assert result.unread == []
    return [(each.kind, each.what, each.severity) for each in result.found]


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.made = function, arguments

    def __reduce__(self) -> Any:
        return self.made


class Own:
    """A custom class."""


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".bin"])
def test_a_pickle_that_acts(tmp_path: Path, protocol: int, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(pickle.dumps({"a": Calls(os.system, "touch canary")}, protocol))
    if protocol < 2 and suffix != ".pkl":
        assert scan([path]).unread != []
    else:
        assert found(path) == [("pickle/acts", f"{os.name}.system", "high")]


def test_a_class_of_somebodys_own_and_harmless_names(tmp_path: Path) -> None:
    value = OrderedDict(a=np.ones(3), b=[1, "x", {2.0}], c=np.float32(1))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    assert found(tmp_path) == []
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([value, Own()]))
    ((kind, what, severity),) = found(tmp_path)
    assert (kind, severity) == ("pickle/class", "medium") and what.endswith("test_files.Own")


def test_names_that_are_computed_or_memoised(tmp_path: Path) -> None:
    memoised = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x02ls\x85R."
    computed = b"\x80\x04\x8c\x02os\x85\x8c\x06system\x93."
    (tmp_path / "a.pkl").write_bytes(memoised)
    (tmp_path / "b.pkl").write_bytes(computed)
    assert found(tmp_path) == [("pickle/computed", "(computed)", "high"), ("pickle/acts", "os.system", "high")][::-1]


def test_a_pickle_that_breaks_off_after_it_acted_is_found_and_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(Calls(os.system, "ls"), 4)[:-1])
    result = scan([path])
    assert [each.kind for each in result.found] == ["pickle/acts"] and len(result.unread) == 1


def test_a_second_pickle_behind_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(pickle.dumps([1]) + pickle.dumps(Calls(os.system, "ls")))
    assert [kind for kind, *_ in found(path)] == ["pickle/acts"]


def test_objects_in_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", np.ones(3))
    np.savez(tmp_path / "plain.npz", a=np.ones(3))
    assert found(tmp_path) == []
    array = np.array([Calls(os.system, "ls"), None], object)
    np.save(tmp_path / "objects.npy", array, allow_pickle=True)
    np.savez(tmp_path / "objects.npz", a=np.ones(3), b=array)
    assert [kind for kind, *_ in found(tmp_path)] == ["pickle/acts"] * 2


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, content in members.items():
            out.writestr(name, content)
    return path


def test_pickles_in_the_zips_of_torch(tmp_path: Path) -> None:
    acts = pickle.dumps(Calls(eval, "1"), 2)
    archive(tmp_path / "x.pt", **{"x/data.pkl": acts, "x/data/0": b"\x80\x02 no pickle", "x/version": b"3"})
    assert found(tmp_path) == [("pickle/acts", "builtins.eval", "high")]


def config(*layers: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "module": "keras", "config": {"name": "s", "layers": list(layers)}}


def layer(name: str, module: str = "keras.layers", **own: Any) -> dict[str, Any]:
    return {"class_name": name, "module": module, "registered_name": None, "config": {"name": "layer", **own}}


KERAS = {
    "Lambda": (layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "x"}}), "keras/code"),
    "a function by name": (
        layer("Dense", activation={"class_name": "function", "module": "os", "config": "system"}),
        "keras/code",
    ),
    "TFSMLayer": (layer("TFSMLayer", filepath="/evil"), "keras/code"),
    "TorchModuleWrapper": (layer("TorchModuleWrapper", module="x"), "keras/code"),
    "a class of a module": (layer("Evil", "os.path"), "keras/class"),
    "a registered class": ({**layer("Evil"), "registered_name": "mine>Evil"}, "keras/class"),
    "a name of Keras that is not a class": (layer("enable_unsafe_deserialization", "keras.config"), "keras/class"),
    "a class that no module has": ({"class_name": "Evil", "config": {"name": "evil"}}, "keras/class"),
    "a vocabulary": (layer("StringLookup", vocabulary="/etc/passwd"), "keras/path"),
    "a server": (layer("Dense", note="https://evil.example"), "keras/path"),
}


@pytest.mark.parametrize("name", KERAS)
def test_keras_configs(tmp_path: Path, name: str) -> None:
    hostile, kind = KERAS[name]
    text = json.dumps(config(layer("Dense", units=3), hostile))
    archive(tmp_path / "x.keras", **{"config.json": text.encode(), "metadata.json": b"{}"})
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["model_config"] = text
    result = scan([tmp_path])
    assert {each.file.name for each in result.found if each.kind == kind} == {"x.keras", "x.h5"}


def test_a_harmless_config(tmp_path: Path) -> None:
    text = json.dumps(config(layer("Dense", units=3, activation="relu")))
    archive(tmp_path / "x.keras", **{"config.json": text.encode()})
    assert found(tmp_path) == []


def test_hdf5_that_leads_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["a/b"] = np.ones(3)
        file["soft"] = h5py.SoftLink("/a/b")
        file["again"] = file["a"]
    assert found(tmp_path) == []
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["g/link"] = h5py.ExternalLink("/etc/other.h5", "/a")
        file.create_dataset("raw", (3,), "u1", external=[("/etc/passwd", 0, 3)])
        layout = h5py.VirtualLayout((3,), "f4")
        layout[:] = h5py.VirtualSource("elsewhere.h5", "a", (3,))
        file.create_virtual_dataset("virtual", layout)
    with h5py.File(tmp_path / "x.h5") as file:
        archive(tmp_path / "x.keras", **{"config.json": b"{}", "model.weights.h5": (tmp_path / "x.h5").read_bytes()})
    kinds = sorted(kind for kind, *_ in found(tmp_path))
    assert kinds == ["hdf5/link"] * 2 + ["hdf5/storage"] * 4


def test_hdf5_that_leads_out_by_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group(b"\xff")[b"\xfe"] = h5py.ExternalLink("/etc/other.h5", "/a")
        file[b"\xfd"] = np.ones(3)
    (each,) = scan([tmp_path / "x.h5"]).found
    assert (each.kind, each.where, each.what) == ("hdf5/link", "\\xff/\\xfe", "/etc/other.h5:/a")


def test_a_diamond_of_links_is_walked_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        group = file
        for _ in range(60):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner
    assert found(tmp_path) == []


def test_zips(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as out:
        out.writestr("../../evil.txt", b"x")
        out.writestr("/etc/passwd", b"x")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        out.writestr(link, "/etc/passwd")
        out.writestr("twice", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            out.writestr("twice", b"2")
        out.open(zipfile.ZipInfo(""), "w").close()
    kinds = found(tmp_path)
    assert [what for kind, what, _ in kinds if kind == "zip/member"] == [
        "twice",
        "../../evil.txt",
        "/etc/passwd",
        "link",
        "",
    ]
    plain = io.BytesIO()
    np.savez(plain, a=np.ones(3))
    (tmp_path / "x.npz").write_bytes(b"#!/bin/sh\nrm -r /\n" + plain.getvalue())
    (tmp_path / "y.npz").write_bytes(plain.getvalue() + b"more")
    for path in (tmp_path / "x.npz", tmp_path / "y.npz"):  # the first is not recognised by its bytes, and so not clean
        result = scan([path])
        assert [each.kind for each in result.found] == (["zip/hidden"] if path.name == "y.npz" else [])
        assert len(result.unread) == 1


def test_links_and_devices(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "assets").mkdir(parents=True)
    (folder / "assets" / "vocab.txt").write_text("a")
    (folder / "inside").symlink_to("assets/vocab.txt")
    (folder / "round").symlink_to("round")
    assert found(folder) == []
    (folder / "assets" / "secret").symlink_to("/etc/passwd")
    (folder / "elsewhere").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    assert sorted(kind for kind, *_ in found(folder)) == ["file/link", "file/link", "file/special"]
    assert found(folder / "pipe") == [("file/special", "prw-r--r--", "medium")]


RECORDS = {
    "checkpoint": 'model_checkpoint_path: "../../etc/model"',
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": "../other.safetensors", "b": "model.safetensors"}}),
    "x.ckpt.lineage.json": json.dumps({"output": {"path": "x", "files": ["../../etc/passwd"], "hash": "sha256:0"}}),
    "x.run.json": json.dumps({"options": {"cache_dir": "/home/me/.ssh", "epochs": 3}}),
    "options.toml": 'tensorboard = "~/logs"\nepochs = 3',
}


@pytest.mark.parametrize("name", RECORDS)
def test_records(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(RECORDS[name])
    assert [kind for kind, *_ in found(tmp_path)] == ["record/path"]


STATES = {
    "one field": 'model_checkpoint_path: "../x"',
    "a second one on its line": 'model_checkpoint_path: "a" all_model_checkpoint_paths: "../x"',
    "behind a semicolon": 'model_checkpoint_path: "a"; all_model_checkpoint_paths: "../x"',
    "behind another field": 'last_preserved_timestamp: 1.5 model_checkpoint_path:"../x"',
    "in a list": 'all_model_checkpoint_paths: ["a", "../x"]',
    "in other quotes": "model_checkpoint_path: '../x'",
    "in two strings": 'model_checkpoint_path: "." # and\n "./x"',
    "in escapes": r'model_checkpoint_path: "\x2e\056/größe"',
    "over lines": 'model_checkpoint_path\n:\n"../x"',
}


@pytest.mark.parametrize("how", STATES)
def test_a_state_file_is_read_as_tensorflow_reads_it(tmp_path: Path, how: str) -> None:
    from google.protobuf import text_format
    from tensorflow.python.training.checkpoint_state_pb2 import CheckpointState

    state = text_format.Parse(STATES[how], CheckpointState())
    (path,) = (each for each in (state.model_checkpoint_path, *state.all_model_checkpoint_paths) if each[:2] == "..")
    (tmp_path / "checkpoint").write_text(STATES[how])
    assert [finding.what for finding in scan([tmp_path]).found] == [path]


@pytest.mark.parametrize("text", ['model_checkpoint_path: "a" # "../x"', 'model_checkpoint_path: "a..b/c"', ""])
def test_a_state_file_that_leads_nowhere_else_is_clean(tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoint").write_text(text)
    result = scan([tmp_path])
    assert (result.found, result.unread) == ([], [])


@pytest.mark.parametrize("part", ['"', "'\"", '"a" ', '"\\', "#\n", '"a" #\n'])
def test_a_state_file_of_many_parts_takes_no_time_of_their_square(tmp_path: Path, part: str) -> None:
    (tmp_path / "checkpoint").write_text(part * 50_000)
    start = time.process_time()
    assert found(tmp_path) == []
    assert time.process_time() - start < 3


def test_a_state_file_of_empty_lines_takes_no_time_of_their_square(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("\n" * 200_000 + f"  {RECORDS['checkpoint']}\n")
    start = time.process_time()
    assert [kind for kind, *_ in found(tmp_path)] == ["record/path"]
    assert time.process_time() - start < 3


def test_what_ckpttool_writes_is_clean(tmp_path: Path) -> None:
    checkpoint.save({"a": np.ones(3), "text": np.array([b"x", b""], object)}, tmp_path / "model.ckpt")
    checkpoint.save({"a": np.ones(3)}, tmp_path / "model.safetensors")
    checkpoint.save({"a": np.ones(3)}, tmp_path / "model.h5")
    assert found(tmp_path) == [] == found(tmp_path / "model.ckpt")


@pytest.mark.parametrize(
    "name", ["x.pb", "x.h5", "x.npz", "x.npy", "x.pt", "x.index", "x.keras", "x.meta", "x.lineage.json"]
)
def test_what_cannot_be_read_is_not_clean(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(
        b"PK\3\4 no zip" if name in ("x.keras", "x.npz") else b"\x93NUMPY\1" if name == "x.npy" else b"???"
    )
    result = scan([tmp_path])
    assert (result.found, len(result.unread)) == ([], 1)


def test_a_damaged_member_is_unread(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([{}], object))
    raw = bytearray(path.read_bytes())
    raw[150] ^= 1
    path.write_bytes(raw)
    assert len(scan([path]).unread) == 1


@pytest.mark.parametrize("end", [b"", b"\0", b"\x8c\xff", b"\x8a\xff", b"Ix\n", b"X\xff\xff\xff\xff", b".\x80"])
@pytest.mark.parametrize("name", ["weights", ".metadata", "x.pt", "x.npy", "in a zip"])
def test_a_damaged_pickle_is_unread_and_what_it_names_before_is_found(tmp_path: Path, name: str, end: bytes) -> None:
    raw = b"\x80\4cos\nsystem\n" + end
    if name == "x.npy":
        held = io.BytesIO()
        np.save(held, np.array([None]))
        raw = held.getvalue()[:128] + raw
    path = tmp_path / ("x.zip" if name == "in a zip" else name)
    if name == "in a zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data", raw)
    else:
        path.write_bytes(raw)
    result = scan([path])
    assert [each.what for each in result.found] == ["os.system"]
    assert ["cannot be read to its end" in each.problem for each in result.unread] == [True]


def test_an_archive_of_many_members_is_opened_as_often_as_one_of_few(tmp_path: Path, monkeypatch: Any) -> None:
    openings: list[int] = []

    class Counted(zipfile.ZipFile):
        def __init__(self, *given: Any, **named: Any) -> None:
            openings.append(1)
            super().__init__(*given, **named)

    counts = []
    monkeypatch.setattr("zipfile.ZipFile", Counted)
    for members in (2, 50):
        np.savez(tmp_path / "x.npz", **{f"tensor_{number}": np.zeros(1) for number in range(members)})
        openings.clear()
        assert scan([tmp_path / "x.npz"]).found == []
        counts.append(len(openings))
    assert counts[0] == counts[1]


def test_a_config_beyond_what_is_read_is_unread(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("config.json", b" " * (1 << 25) + b"{}")
    result = scan([tmp_path / "x.keras"])
    assert not result.found
    assert "config.json has 33554434 bytes, and at most 16777216 are read" in result.unread[0].problem


def test_programs_are_not_read_and_so_not_clean(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("print()")
    result = scan([tmp_path])
    assert (result.found, result.others, len(result.unread)) == ([], 1, 1)
    assert len(scan([tmp_path / "program.py"]).unread) == 1


def zipped(**members: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as out:
        for name, content in members.items():
            out.writestr(name.replace("__", "."), content)
    return held.getvalue()


ACTS = pickle.dumps(Calls(os.system, "ls"))
GRAPH = graph(*acting("WriteFile")).SerializeToString()
NETWORK = json.dumps({"class_name": "Sequential", "module": "keras", "config": {"layers": []}}).encode()
UNNAMED = {
    "a graph without a suffix": ("assets/vocabulary", GRAPH, "graph/hidden-graph"),
    "a graph in a note": ("README.md", GRAPH, "graph/hidden-graph"),
    "a graph in a fingerprint": ("fingerprint.pb", GRAPH, "graph/hidden-graph"),
    "a text graph": ("net.pb.txt", b'node { name: "a" op: "WriteFile" }', "graph/writes-files"),
    "a pickle in a text": ("notes.txt", ACTS, "pickle/acts"),
    "a pickle in a configuration": ("config.json", ACTS, "pickle/acts"),
    "a pickle of the oldest kind": ("weights", pickle.dumps(Calls(os.system, "ls"), 0), "pickle/acts"),
    "a pickle in the place of a shard": ("x.data-00000-of-00001", ACTS, "pickle/acts"),
    "a pickle in an npz": ("x.npz", zipped(data=ACTS), "pickle/acts"),
    "a graph in an npz": ("x.npz", zipped(data=GRAPH), "graph/hidden-graph"),
    "a zip in a zip": ("x.npz", zipped(a__zip=zipped(x__pkl=ACTS)), None),
    "a program in a keras file": ("x.keras", zipped(config__json=NETWORK, evil__py=b"print()"), None),
    "numbers without an index": ("x.data-00000-of-00001", b"\0" * 9, None),
    "ONNX": ("x.onnx", b"\x08\x07\x12\x04test\x00\xff", None),
    "TensorFlow Lite": ("x.tflite", b"\x1c\0\0\0TFL3\0\0", None),
    "no safetensors": ("x.safetensors", ACTS, None),
    "packed": ("x.pkl.gz", b"\x1f\x8b\0\0", None),
    "a script": ("setup", b"#!/bin/sh\n", None),
    "words": ("assets/vocabulary", "one\nçat\n".encode(), ""),
    "a keras file": ("x.keras", zipped(config__json=NETWORK, metadata__json=b"{}"), ""),
}


@pytest.mark.parametrize("name", UNNAMED)
def test_only_what_was_read_is_clean(tmp_path: Path, name: str) -> None:
    """By its bytes, whatever its name; None is for unsupported files, an empty text for clean ones."""
    file, content, kind = UNNAMED[name]
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(content)
    result = scan([tmp_path])
    assert {each.kind for each in result.found} == ({kind} if kind else set())
    assert len(result.unread) == (kind is None)


def test_a_finding_has_all_fields(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Calls(os.system, "ls")))
    (finding,) = scan([tmp_path]).found
    assert isinstance(finding, Finding) and all(finding.as_json()[key] for key in finding.as_json() if key != "where")
