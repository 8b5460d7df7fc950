"""Parts of checkpoints, of every supported format; some are also scanned and salvaged."""

import io
import json
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cramjam
import darknet_files
import h5py
import msgpack
import numpy as np
from caffe_files import blob, net
from crafted import built, entry, rows, table, write
from fuzz_target import ARRAY, Target, hdf5, one_file, read_checkpoint, scanned, zipped
from tflite_files import buffer, model, packed, tensor

from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats.tensorflow.slices import FULL, encode_key
from ckpttool.formats.wire import crc, varint
from ckpttool.formats.wire.elements import encode_string_lengths
from ckpttool.formats.wire.protos.bundle_pb2 import TrackableObjectGraph
from ckpttool.formats.wire.protos.saved_slices_pb2 import SavedTensorSlices
from ckpttool.formats.zarr.ocdbt import IS_MANIFEST, IS_NODE
from ckpttool.surgery.salvage import salvage

FIXTURES = Path(__file__).parents[2] / "fixtures"

PICKLE = (
    b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01ctorch._utils\n_rebuild_tensor_v2\nq\x02((X\x07\x00\x00\x00storageq\x03"
    b"ctorch\nFloatStorage\nq\x04X\x01\x00\x00\x000q\x05X\x03\x00\x00\x00cpuq\x06K\x06tq\x07QK\x00K\x02K\x03\x86q\x08"
    b"K\x03K\x01\x86q\t\x89ccollections\nOrderedDict\nq\n)Rq\x0btq\x0cRq\rs."
)
LEGACY = (
    bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80024de9032e")
    + b"\x80\x02}q\x00(X\x10\x00\x00\x00protocol_versionq\x01M\xe9\x03X\r\x00\x00\x00little_endianq\x02\x88u."
)
OLD_DATA = b"\x80\x02]q\x00X\1\0\0\x000q\1a." + struct.pack("<q", 6) + ARRAY.tobytes()
SAFETENSORS = b'{"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"__metadata__":{"a":"b"}}'
CONFIG = (
    b'{"class_name":"Sequential","config":{"name":"s","layers":[{"class_name":"Dense","config":{"name":"dense"}}]}}'
)
WEIGHTS = "model.weights.h5"
PARTS = ((FULL, (0, 3)), (FULL, (3, 3)))


def npy() -> bytes:
    out = io.BytesIO()
    np.save(out, ARRAY)
    return out.getvalue()


def sliced() -> bytes:
    slices = [(encode_key(b"w", part), entry(shape=(4, 3), size=48)) for part in PARTS]
    return built(rows(*slices, (b"w", entry(shape=(4, 6), size=0, slices=PARTS, check=0))))


def bundle_of_one() -> bytes:
    return table(built(rows((b"w", entry()))))


def version_1() -> bytes:
    listed, held = SavedTensorSlices(), SavedTensorSlices()
    for message in (listed.meta.tensor.add(name="w", type=1), held.data):
        message.name = "w"
    listed.meta.tensor[0].shape.dim.add(size=2)
    listed.meta.tensor[0].slice.add().extent.add(start=0, length=2)
    held.data.slice.extent.add(start=0, length=2)
    held.data.data.float_val.append(bytes(8))
    return built([(b"", listed.SerializeToString()), (encode_key(b"w", ((0, 2),)), held.SerializeToString())])


def objects() -> bytes:
    graph = TrackableObjectGraph()
    root, layer, slot = graph.nodes.add(), graph.nodes.add(), graph.nodes.add()
    root.children.add(node_id=1, local_name="w")
    layer.attributes.add(name="VARIABLE_VALUE", full_name="dense/kernel", checkpoint_key="w/.ATTRIBUTES/VARIABLE_VALUE")
    slot.slot_variables.add(original_variable_node_id=1, slot_name="m", slot_variable_node_id=1)
    return graph.SerializeToString()


def bundle_of_objects(folder: Path, part: bytes) -> Path:
    """Write a bundle of a string, the object graph, and of the value that it describes."""
    head, running = encode_string_lengths([part])
    text = head + part
    graph = entry(dtype=7, shape=(), size=len(text), check=crc.mask(crc.extend(running, part)))
    value = entry(offset=len(text), data=text + bytes(64))
    keys = rows((OBJECT_GRAPH.encode(), graph), (b"w/.ATTRIBUTES/VARIABLE_VALUE", value))
    return write(folder, table(built(keys)), text + bytes(64))


def onnx() -> bytes:
    def field(number: int, body: bytes) -> bytes:
        return varint.encode(number << 3 | 2) + varint.encode(len(body)) + body

    tensor = b"\x08\2\x08\3\x10\1" + field(8, b"w") + field(9, ARRAY.tobytes())
    node = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"MatMul")
    return b"\x08\x08" + field(7, field(1, node) + field(2, b"g") + field(5, tensor)) + field(8, b"\x10\x0d")


def gguf() -> bytes:
    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    words = text(b"words") + struct.pack("<IIQ", 9, 8, 1) + text(b"a")
    tensors = text(b"w") + struct.pack("<IQQIQ", 2, 3, 2, 0, 0) + text(b"q") + struct.pack("<IQIQ", 1, 32, 8, 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 1) + words + tensors
    return head + bytes(-len(head) % 32) + ARRAY.tobytes().ljust(32, b"\0") + bytes(34)


def caffe() -> bytes:
    made = net(conv=("Convolution", ARRAY, ARRAY[0]), norm=("BatchNorm", ARRAY[0].astype(np.float64)))
    made.layer[1].batch_norm_param.eps = 0.1
    old = made.layers.add(name="old", type=14).blobs
    old.append(blob(ARRAY, legacy=True))
    return made.SerializeToString()


def beside_weights(folder: Path, part: bytes) -> Path:
    """Write Darknet weights, with their network next to them."""
    place = darknet_files.write(folder)
    place.with_suffix(".cfg").write_bytes(part)
    return place


def with_network(folder: Path, part: bytes) -> Path:
    """Write Darknet weights next to a network."""
    place = darknet_files.write(folder)
    place.write_bytes(part)
    return place


def tflite() -> bytes:
    quantised = tensor("q", (2, 2), 9, 2, (0.5, 2.0), (1, 0))
    text = buffer(b"\1\0\0\0\x0c\0\0\0\x0e\0\0\0ab")
    tensors = [tensor("w", (2, 3), 0, 1), quantised, tensor("t", (1,), 5, 3), tensor("x", (1, 3), 0, 0)]
    return packed(model(tensors, [buffer(ARRAY.tobytes()), buffer(b"abcd"), text], description="d"))


def index_of_safetensors(folder: Path, part: bytes) -> Path:
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + ARRAY.tobytes())
    return one_file("x.safetensors.index.json")(folder, part)


def tar_of_pytorch(part: bytes) -> bytes:
    """Return a file of PyTorch 0.1: the part contains the storages, then the tensors, each with their count."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in zip(("storages", "tensors", "pickle"), part.split(b"|||"), strict=False):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


OLD_TAR = b"|||".join(
    (
        b"\x80\x02K\x01.\x80\x02(X\1\0\0\x000X\3\0\0\0cpuctorch\nFloatStorage\nt."
        + struct.pack("<q", 6) + ARRAY.tobytes() + b"\x80\x02].",
        b"\x80\x02K\x01.\x80\x02(K\x07X\1\0\0\x000ctorch\nFloatTensor\nt." + struct.pack("<i4x5q", 2, 2, 3, 3, 1, 0),
        b"\x80\x02}X\1\0\0\0wK\x07Qs.",
    )
)  # fmt: skip


def old_keras(part: bytes) -> bytes:
    """Return a Keras 2 weights file, whose attributes are the part, as JSON."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["dense/dense/kernel:0"], file["dense/dense/bias:0"] = ARRAY, np.ones(3, np.float32)
        try:
            for group, attributes in json.loads(part).items():
                for name, value in attributes.items():
                    file[group].attrs[name] = value
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, RecursionError, OSError):
            pass
    return out.getvalue()


OLD_ATTRIBUTES = json.dumps(
    {"/": {"layer_names": ["dense"]}, "dense": {"weight_names": ["dense/kernel:0", "dense/bias:0"]}}
).encode()
BROWSERS = json.dumps(
    {
        "format": "layers-model",
        "weightsManifest": [
            {
                "paths": ["a.bin", "b.bin"],
                "weights": [
                    {"name": "w", "shape": [2, 3], "dtype": "float32"},
                    {
                        "name": "q",
                        "shape": [4],
                        "dtype": "int32",
                        "quantization": {"dtype": "uint8", "scale": 1, "min": 2},
                    },
                ],
            }
        ],
    }
).encode()


def flax() -> bytes:
    """Return a Flax tree with an array, a chunked one, a number, a string, and unsupported values."""
    array = msgpack.ExtType(1, msgpack.packb(((2, 3), "float32", ARRAY.tobytes())))
    half = msgpack.ExtType(1, msgpack.packb(((3,), "float32", ARRAY.tobytes()[:12])))
    chunks = {"__msgpack_chunked_array__": True, "shape": {"0": 6}, "chunks": {"0": half, "1": half}}
    return bytes(
        msgpack.packb({"params": {"w": array, "chunked": chunks}, "step": 5, "text": "a", "raw": b"x", "none": None})
    )


ZARRAY = json.dumps(
    {
        **{"zarr_format": 2, "shape": [3, 2], "chunks": [2, 2], "dtype": "<f4", "fill_value": "NaN", "order": "F"},
        **{"compressor": {"id": "zlib"}, "filters": None, "dimension_separator": "."},
    }
).encode()
ZARR_JSON = json.dumps(
    {
        **{"zarr_format": 3, "node_type": "array", "shape": [6], "data_type": "float32", "fill_value": "0x00000000"},
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [2],
                    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "zstd"}],
                    "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
                },
            }
        ],
    }
).encode()
SHARD = bytes(cramjam.zstd.compress(bytes(8)))
CHUNK = zlib.compress(ARRAY.tobytes()[:16])
NODE = (
    b"\0\1\3\0d/y\3\0\2\5\11\3aboutw/.zarray0.0\2"
    + varint.encode(len(ZARRAY))
    + bytes([len(CHUNK), 0, 0, 1, 0, 0])
    + b"hi"
    + ZARRAY
)


def shard() -> bytes:
    """Return a shard with one chunk of two, and its index."""
    index = struct.pack("<4Q", 0, len(SHARD), (1 << 64) - 1, (1 << 64) - 1)
    return SHARD + index + struct.pack("<I", crc.extend(0, index))


def orbax_folder(folder: Path, part: bytes) -> Path:
    """Write an Orbax folder with another tree."""
    place = folder / "orbax"
    if not place.exists():
        shutil.copytree(FIXTURES / "orbax" / "folders", place)
    (place / "_METADATA").write_bytes(part)
    return place


def zarr_folder(name: str, *beside: tuple[str, bytes]) -> Callable[[Path, bytes], Path]:
    """Return a function that writes a Zarr array; one of its files is the part, and the others are valid."""

    def make(folder: Path, part: bytes) -> Path:
        for each, content in (*beside, (name, part)):
            place = folder / "x.zarr" / each
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        return folder / "x.zarr"

    return make


def ocdbt(what: int) -> Callable[[bytes], bytes]:
    """Return a function that repairs the size and the checksum of a manifest's or a node's bytes."""

    def frame(body: bytes) -> bytes:
        whole = struct.pack(">I", what) + struct.pack("<Q", len(body) + 18) + b"\0\0" + body
        return whole + struct.pack("<I", crc.extend(0, whole))

    return frame


def ocdbt_manifest(size: int) -> bytes:
    head = bytes(17) + varint.encode(1024) + varint.encode(8 << 20) + b"\4\0\1\3\0d/x\1\1\0\0\0"
    return head + varint.encode(size) + b"\1\1\1" + bytes(9)


def node_of(folder: Path, part: bytes) -> Path:
    """Write an Orbax database with one node."""
    node = ocdbt(IS_NODE)(part)
    (folder / "d").mkdir(exist_ok=True)
    (folder / "d" / "x").write_bytes(node)
    (folder / "d" / "y").write_bytes(CHUNK)
    (folder / "manifest.ocdbt").write_bytes(ocdbt(IS_MANIFEST)(ocdbt_manifest(len(node))))
    return folder


def manifest_of(folder: Path, part: bytes) -> Path:
    """Write an Orbax database with a manifest."""
    node_of(folder, NODE)
    (folder / "manifest.ocdbt").write_bytes(ocdbt(IS_MANIFEST)(part))
    return folder


def beside_shards(folder: Path, part: bytes) -> Path:
    """Write a TensorFlow.js model.json, and the files of its weights."""
    (folder / "a.bin").write_bytes(ARRAY.tobytes()[:10])
    (folder / "b.bin").write_bytes(ARRAY.tobytes()[10:] + bytes(4))
    return one_file("model.json")(folder, part)


TARGETS: dict[str, Target] = {
    "entry of a bundle": Target(
        entry(), lambda folder, part: write(folder, table(built(rows((b"t", part))))), read_checkpoint
    ),
    "block of a bundle": Target(
        built(rows((b"t", entry()), (b"tu", entry()))), lambda folder, part: write(folder, table(part)), read_checkpoint
    ),
    "slices of a bundle": Target(sliced(), lambda folder, part: write(folder, table(part)), read_checkpoint),
    "packed block": Target(
        bytes(cramjam.snappy.compress_raw(built(rows((b"t", entry()))))),
        lambda folder, part: write(folder, table(part, 1)),
        read_checkpoint,
    ),
    "objects of a bundle": Target(objects(), bundle_of_objects, read_checkpoint),
    "damaged bundle": Target(
        bundle_of_one(), lambda folder, part: one_file("x.index")(write(folder, bundle_of_one()).parent, part), salvage
    ),
    "state file": Target(
        b'model_checkpoint_path: "x"\nall_model_checkpoint_paths: "x"\n',
        lambda folder, part: one_file("checkpoint")(write(folder, bundle_of_one()).parent, part).parent,
        scanned(read_checkpoint),
    ),
    "block of version 1": Target(version_1(), one_file("x.v1", table), read_checkpoint),
    "damaged file of version 1": Target(table(version_1()), one_file("x.v1"), salvage),
    "array of an npz": Target(npy(), one_file("x.npz", zipped("a.npy")), scanned(read_checkpoint)),
    "zip": Target(zipped("a.npy")(npy()), one_file("x.npz"), scanned(read_checkpoint)),
    "damaged zip": Target(zipped("a.npy")(npy()), one_file("x.npz"), salvage),
    "pickle": Target(
        PICKLE, one_file("x.pt", zipped("x/data.pkl", ("x/data/0", ARRAY.tobytes()))), scanned(read_checkpoint)
    ),
    "old pickle": Target(
        PICKLE.replace(b"K\x06tq", b"K\x06Ntq"),
        one_file("x.pth", lambda part: LEGACY + part + OLD_DATA),
        scanned(read_checkpoint),
    ),
    "tar of PyTorch": Target(OLD_TAR, one_file("x.pth", tar_of_pytorch), scanned(read_checkpoint)),
    "header of safetensors": Target(
        SAFETENSORS,
        one_file("x.safetensors", lambda part: struct.pack("<Q", len(part)) + part + ARRAY.tobytes()),
        lambda path: (salvage(path), read_checkpoint(path)),
    ),
    "index of safetensors": Target(
        b'{"metadata":{"total_size":24},"weight_map":{"w":"a.safetensors"}}',
        index_of_safetensors,
        scanned(read_checkpoint),
    ),
    "HDF5": Target(hdf5(), one_file("x.h5"), scanned(read_checkpoint)),
    "damaged HDF5": Target(hdf5(), one_file("x.h5"), salvage),
    "attributes of Keras 2": Target(OLD_ATTRIBUTES, one_file("x.h5", old_keras), read_checkpoint),
    "weights in a .keras": Target(
        hdf5(), one_file("x.keras", zipped(WEIGHTS, ("config.json", CONFIG))), scanned(read_checkpoint)
    ),
    "configuration": Target(CONFIG, one_file("x.keras", zipped("config.json", (WEIGHTS, hdf5()))), read_checkpoint),
    "GGUF": Target(gguf(), one_file("x.gguf"), read_checkpoint),
    "array of Zarr 2": Target(
        ZARRAY,
        zarr_folder(".zarray", ("0.0", CHUNK), ("1.0", zlib.compress(bytes(16)))),
        scanned(read_checkpoint),
    ),
    "array of Zarr 3": Target(ZARR_JSON, zarr_folder("zarr.json", ("c/0", shard())), scanned(read_checkpoint)),
    "shard of Zarr 3": Target(shard(), zarr_folder("c/0", ("zarr.json", ZARR_JSON)), scanned(read_checkpoint)),
    "node of OCDBT": Target(NODE, node_of, scanned(read_checkpoint)),
    "manifest of OCDBT": Target(ocdbt_manifest(len(ocdbt(IS_NODE)(NODE))), manifest_of, scanned(read_checkpoint)),
    "tree of Orbax": Target(
        (FIXTURES / "orbax" / "folders" / "_METADATA").read_bytes(), orbax_folder, scanned(read_checkpoint)
    ),
    "Flax": Target(flax(), one_file("x.msgpack"), scanned(read_checkpoint)),
    "Caffe": Target(caffe(), one_file("x.caffemodel"), read_checkpoint),
    "weights of Darknet": Target(
        darknet_files.HEADER + darknet_files.numbers().tobytes(), with_network, read_checkpoint
    ),
    "cfg of Darknet": Target(darknet_files.CFG.encode(), beside_weights, read_checkpoint),
    "TensorFlow Lite": Target(tflite(), one_file("x.tflite"), read_checkpoint),
    "manifest of TensorFlow.js": Target(BROWSERS, beside_shards, scanned(read_checkpoint)),
    "ONNX": Target(onnx(), one_file("x.onnx"), read_checkpoint),
}
