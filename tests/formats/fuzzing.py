"""Fuzzing of readers behind their checksums: what a checksum covers is changed, and the checksum mended.

Of a file with any bytes changed nearly all are refused by a checksum, and what is behind it is never tried. So each
target takes the bytes of one part, and makes a whole file of them. `trust/fuzz.py` runs the same for longer.
"""

import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from crafted import built, entry, raw_entry, rows, table, with_restarts, write

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.formats.tensorflow.slices import FULL, encode_key
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph import files
from ckpttool.lineage.storage import read_lineage
from ckpttool.surgery.verify import verify

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
    graph.graph_def.node.add(name="w/read", op="Identity", input=["w"])
    graph.collection_def["variables"].bytes_list.value.append(b"\n\x03w:0")
    return graph.SerializeToString()


def load_graph(path: Path) -> None:
    graph = files.load(path)
    assert isinstance(graph.problems(), object)


WEIGHTS = "model.weights.h5"
TARGETS: dict[str, Target] = {
    "entry of a bundle": Target(
        entry(), lambda folder, part: write(folder, table(built(rows((b"t", part))))), read_checkpoint
    ),
    "block of a bundle": Target(
        with_restarts(raw_entry(0, 0, 6, bytes.fromhex("08011a020801")) + raw_entry(0, 1, 14, b"t" + entry()), 0),
        lambda folder, part: write(folder, table(part)),
        read_checkpoint,
    ),
    "slices of a bundle": Target(sliced(), lambda folder, part: write(folder, table(part)), read_checkpoint),
    "packed block": Target(b"\x10\x3cabcdefgh", lambda folder, part: write(folder, table(part, 1)), read_checkpoint),
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
        lambda folder, part: one_file("checkpoint")(folder, part).parent,
        read_checkpoint,
    ),
}


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
