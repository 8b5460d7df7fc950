"""Fuzzing of readers behind their checksums: what a checksum covers is changed, and the checksum mended.

Of a file with any bytes changed nearly all are refused by a checksum, and what is behind it is never tried. So each
target takes the bytes of one part, and makes a whole file of them. `trust/fuzz.py` runs the same for longer, and keeps
in `trust/corpus` what leads deepest: a file for each target, a part on each line.
"""

import base64
import io
import json
import random
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cramjam
import h5py
import numpy as np
from crafted import built, entry, rows, table, write

from ckpttool import checkpoint
from ckpttool.cli.options.config import _read as read_config
from ckpttool.core.errors import CkptError
from ckpttool.data.feature_store import FeatureStore
from ckpttool.data.preprocessing import Preprocessing
from ckpttool.foreign.rules import moves, read_rules
from ckpttool.formats.keras.network import read_network
from ckpttool.formats.tensorflow.slices import FULL, encode_key
from ckpttool.formats.wire import checked_json, varint
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel
from ckpttool.formats.wire.protos.saved_slices_pb2 import SavedTensorSlices
from ckpttool.graph import files
from ckpttool.lineage.storage import read_lineage
from ckpttool.search.configurations import Block, Configuration, Outcome
from ckpttool.search.study import Study
from ckpttool.surgery.verify import verify
from ckpttool.training.run import RunReport
from ckpttool.training.saves import Saves

KEPT = Path(__file__).parents[2] / "trust" / "corpus"

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)
INTERESTING = [0, 1, 2, 0x7F, 0x80, 0xFF]
NUMBERS = [
    struct.pack("<Q", number) for number in (0, 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
]


class Target(NamedTuple):
    """A part of a file: good bytes of it, what makes a file of any, and what reads that."""

    seed: bytes
    make: Callable[[Path, bytes], Path]
    read: Callable[[Path], None]


def read_checkpoint(path: Path) -> None:
    for tensor in checkpoint.open(path).values():
        if tensor.nbytes < 1 << 24:
            tensor.read()
    verify(path)


def one_file(name: str, wrap: Callable[[bytes], bytes] = bytes) -> Callable[[Path, bytes], Path]:
    def make(folder: Path, part: bytes) -> Path:
        (folder / name).write_bytes(wrap(part))
        return folder / name

    return make


def zipped(name: str, *others: tuple[str, bytes]) -> Callable[[bytes], bytes]:
    def wrap(part: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as target:
            for member, content in ((name, part), *others):
                target.writestr(member, content)
        return out.getvalue()

    return wrap


def npy() -> bytes:
    out = io.BytesIO()
    np.save(out, ARRAY)
    return out.getvalue()


def hdf5() -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = ARRAY, np.ones(3, np.float32)
        file.attrs["names"] = ["a", "bcd"]
        file.create_dataset("packed", data=ARRAY, compression="gzip", chunks=(1, 3))
        file["text"] = ["a", "b"]
    return out.getvalue()


PICKLE = (
    b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03"
    b"ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x06tq\x07QK\x00K\x02K\x03\x86q\x08"
    b"K\x03K\x01\x86q\t\x89ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rs."
)
SAFETENSORS = b'{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"__metadata__":{"a":"b"}}'
CONFIG = (
    b'{"class_name":"Sequential","config":{"name":"s","layers":[{"class_name":"Dense","config":{"name":"dense"}}]}}'
)
LINEAGE = (
    b'{"output":{"path":"x","format":"npz","hash":"sha256:0","files":["x"]},"records":[{"command":"convert","arguments":'
    b'["a"],"sources":[],"steps":[],"versions":{},"date":"2026","framework":null}],"left_out":0}'
)
PARTS = ((FULL, (0, 3)), (FULL, (3, 3)))


def sliced() -> bytes:
    slices = [(encode_key(b"w", part), entry(shape=(4, 3), size=48)) for part in PARTS]
    return built(rows(*slices, (b"w", entry(shape=(4, 6), size=0, slices=PARTS, check=0))))


def meta() -> bytes:
    graph = MetaGraphDef()
    node = graph.graph_def.node.add(name="w", op="VariableV2")
    node.attr["shape"].shape.dim.add(size=2)
    node.attr["dtype"].type = 1  # type: ignore[assignment]
    graph.graph_def.node.add(name="w/read", op="Identity", input=["w"])
    graph.collection_def["variables"].bytes_list.value.append(b"\n\x03w:0")
    return graph.SerializeToString()


def load_graph(path: Path) -> None:
    graph = files.load(path)
    assert isinstance(graph.problems(), object)


def version_1() -> bytes:
    listed, held = SavedTensorSlices(), SavedTensorSlices()
    for message in (listed.meta.tensor.add(name="w", type=1), held.data):
        message.name = "w"
    listed.meta.tensor[0].shape.dim.add(size=2)
    listed.meta.tensor[0].slice.add().extent.add(start=0, length=2)
    held.data.slice.extent.add(start=0, length=2)
    held.data.data.float_val.append(bytes(8))
    return built([(b"", listed.SerializeToString()), (encode_key(b"w", ((0, 2),)), held.SerializeToString())])


def saved_model() -> bytes:
    model = SavedModel(saved_model_schema_version=1)
    model.meta_graphs.add().CopyFrom(MetaGraphDef.FromString(meta()))
    model.meta_graphs[0].meta_info_def.tags.append("serve")
    return model.SerializeToString()


def onnx() -> bytes:
    def field(number: int, body: bytes) -> bytes:
        return varint.encode(number << 3 | 2) + varint.encode(len(body)) + body

    tensor = b"\x08\2\x08\3\x10\1" + field(8, b"w") + field(9, ARRAY.tobytes())
    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"MatMul")
    return b"\x08\x08" + field(7, field(1, node) + field(2, b"g") + field(5, tensor)) + field(8, b"\x10\x0d")


def checked(data: bytes) -> bytes:
    """Mend the checksum of JSON."""
    try:
        facts = json.loads(data)
        return checked_json.dumps({key: facts[key] for key in facts if key != checked_json.CHECKSUM})
    except (ValueError, TypeError, RecursionError, UnicodeError):
        return data


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
        "asked": {"valid": None, "group": None},
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


def bundle_of_one() -> bytes:
    return table(built(rows((b"w", entry()))))


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


def index_of_safetensors(folder: Path, part: bytes) -> Path:
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + ARRAY.tobytes())
    return one_file("x.safetensors.index.json")(folder, part)


def read_rules_of(path: Path) -> None:
    moves(["fc1/weight", "a/x", "b/x", "drop"], read_rules(path))


LEGACY = (
    bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80024de9032e")
    + b"\x80\x02}q\x00(X\x10\x00\x00\x00protocol_versionq\x01M\xe9\x03X\r\x00\x00\x00little_endianq\x02\x88u."
)
OLD_DATA = b"\x80\x02]q\x00X\1\0\0\x000q\1a." + struct.pack("<q", 6) + ARRAY.tobytes()
WEIGHTS = "model.weights.h5"
TARGETS: dict[str, Target] = {
    "entry of a bundle": Target(
        entry(), lambda folder, part: write(folder, table(built(rows((b"t", part))))), read_checkpoint
    ),
    "block of a bundle": Target(
        built(rows((b"t", entry()), (b"tu", entry()))),
        lambda folder, part: write(folder, table(part)),
        read_checkpoint,
    ),
    "slices of a bundle": Target(sliced(), lambda folder, part: write(folder, table(part)), read_checkpoint),
    "packed block": Target(
        bytes(cramjam.snappy.compress_raw(built(rows((b"t", entry()))))),
        lambda folder, part: write(folder, table(part, 1)),
        read_checkpoint,
    ),
    "array of an npz": Target(npy(), one_file("x.npz", zipped("a.npy")), read_checkpoint),
    "pickle": Target(PICKLE, one_file("x.pt", zipped("x/data.pkl", ("x/data/0", ARRAY.tobytes()))), read_checkpoint),
    "weights in a .keras": Target(
        hdf5(), one_file("x.keras", zipped(WEIGHTS, ("config.json", CONFIG))), read_checkpoint
    ),
    "configuration": Target(CONFIG, one_file("x.keras", zipped("config.json", (WEIGHTS, hdf5()))), read_checkpoint),
    "HDF5": Target(hdf5(), one_file("x.h5"), read_checkpoint),
    "zip": Target(zipped("a.npy")(npy()), one_file("x.npz"), read_checkpoint),
    "header of safetensors": Target(
        SAFETENSORS,
        one_file("x.safetensors", lambda part: struct.pack("<Q", len(part)) + part + ARRAY.tobytes()),
        read_checkpoint,
    ),
    "graph": Target(meta(), one_file("x.meta"), load_graph),
    "lineage": Target(LINEAGE, one_file("x.lineage.json"), lambda path: read_lineage(path) and None),
    "state file": Target(
        b'model_checkpoint_path: "x"\nall_model_checkpoint_paths: "x"\n',
        lambda folder, part: one_file("checkpoint")(write(folder, bundle_of_one()).parent, part).parent,
        read_checkpoint,
    ),
    "block of version 1": Target(version_1(), one_file("x.v1", table), read_checkpoint),
    "SavedModel": Target(
        saved_model(), lambda folder, part: one_file("saved_model.pb")(folder, part).parent, load_graph
    ),
    "ONNX": Target(onnx(), one_file("x.onnx"), read_checkpoint),
    "network of Keras": Target(
        CONFIG, one_file("x.keras", zipped("config.json", (WEIGHTS, hdf5()))), lambda path: read_network(path) and None
    ),
    "old pickle": Target(
        PICKLE.replace(b"K\x06tq", b"K\x06Ntq"),
        one_file("x.pth", lambda part: LEGACY + part + OLD_DATA),
        read_checkpoint,
    ),
    "index of safetensors": Target(
        b'{"metadata":{"total_size":24},"weight_map":{"w":"a.safetensors"}}', index_of_safetensors, read_checkpoint
    ),
    "report of a run": Target(
        REPORT, one_file("x.run.json", checked), lambda path: RunReport.parse(path.read_bytes(), path) and None
    ),
    "configuration in TOML": Target(TOML, one_file("x.toml"), lambda path: read_config(path) and None),
    "rules": Target(RULES, one_file("x.rules"), read_rules_of),
    "rules in TOML": Target(TOML_RULES, one_file("x.toml"), read_rules_of),
    "preprocessing": Target(
        b"scale(1/127.5, -1); bgr(); images/age: none",
        one_file("x.txt"),
        lambda path: Preprocessing.parse(path.read_text(errors="surrogateescape")) and None,
    ),
    "manifest of a cache": Target(
        MANIFEST, entry_of_cache, lambda path: FeatureStore(path).entry("k").open(verify=False) and None
    ),
    "study": Target(study(), one_file("x.study"), read_study),
    "state of a run": Target(
        STATE,
        save_of_a_run,
        lambda path: Saves(path, None, 1, {"valid": None, "group": None}).latest() and None,
    ),
}


def kept(name: str) -> list[bytes]:
    """Return the parts that were kept of a target: what led deepest, and what went wrong once."""
    file = KEPT / f"{name.replace(' ', '_')}.txt"
    return [base64.b64decode(line) for line in file.read_text().split()] if file.exists() else []


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change some bytes as fuzzers do: bits, odd numbers, pieces that are gone, there twice or elsewhere."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(out) + 1)
        size = min(chance.choice((1, 1, 2, 4, 8, 16)), len(out) - at)
        match chance.randrange(7):
            case 0 if size:
                out[at] ^= 1 << chance.randrange(8)
            case 1 if size:
                out[at] = chance.choice(INTERESTING)
            case 2:
                out[at : at + size] = chance.choice(NUMBERS)[: max(size, 1)]
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = out[at : at + size] * chance.choice((1, 2, 50))
            case 5:
                out[at:at] = chance.randbytes(size)
            case _:
                place = chance.randrange(len(out) + 1)
                out[place : place + size] = out[at : at + size]
    return bytes(out)


def tried(target: Target, folder: Path, part: bytes) -> str | None:
    """Read a file that was made of a part; return what went wrong in other words than ours."""
    try:
        target.read(target.make(folder, part))
    except (CkptError, OSError):
        return None
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return f"{type(error).__name__}: {error}"
    return None
