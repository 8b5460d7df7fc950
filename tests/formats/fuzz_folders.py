"""PyTorch folders and parts: an index of files, torch.distributed.checkpoint's, and DeepSpeed's ZeRO."""

import struct
from collections.abc import Callable
from pathlib import Path

from fuzz_checkpoints import PICKLE
from fuzz_target import ARRAY, Target, read_checkpoint, scanned, zipped

of_torch = zipped("a/data.pkl", ("a/data/0", ARRAY.tobytes()))


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def mapped(**values: bytes) -> bytes:
    """Return a dict in a pickle."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    + b"K\6tQK\0K\6\x85K\1\x85\x89}tR"
)  # fmt: skip
"""A flat tensor of six numbers."""
SHAPES = b"](" + mapped(w=b"K\2K\2\x86", b=b"K\2\x85") + b"e"
ZERO_MODEL = b"\x80\2" + mapped(
    module=mapped(mean=TENSOR), buffer_names=b"](" + text("mean") + b"e", param_shapes=SHAPES,
    shared_params=mapped(tied=text("w")),
) + b"."  # fmt: skip
ZERO_OPTIMIZER = b"\x80\2" + mapped(
    optimizer_state_dict=mapped(
        zero_stage=b"K\2", partition_count=b"K\1", single_partition_of_fp32_groups=b"](" + TENSOR + b"e"
    )
) + b"."  # fmt: skip
"""The content of DeepSpeed's ZeRO files: the model's, and that of the one process."""


def zero(model: bool) -> Callable[[Path, bytes], Path]:
    """Return a function that writes a ZeRO folder, one pickle of which is the part."""

    def make(folder: Path, part: bytes) -> Path:
        files = {"mp_rank_00_model_states.pt": ZERO_MODEL, "zero_pp_rank_0_mp_rank_00_optim_states.pt": ZERO_OPTIMIZER}
        changed = list(files)[0 if model else 1]
        for name, pickle in (files | {changed: part}).items():
            (folder / name).write_bytes(of_torch(pickle))
        return folder

    return make


def made(kind: str, state: bytes, module: str = "metadata") -> bytes:
    """Return an object of a torch.distributed.checkpoint class, in a pickle."""
    return f"ctorch.distributed.checkpoint.{module}\n{kind}\n)\x81".encode("latin-1") + state + b"b"


def size(*sizes: int) -> bytes:
    return b"ctorch\nSize\n((" + b"".join(b"K%c" % each for each in sizes) + b"ttR"


PARTS = "__0_0.distcp"
ROW = (
    b"\x80\2ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0")
    + text("cpu") + b"K\3tQK\0K\1K\3\x86K\3K\1\x86\x89}tR."
)  # fmt: skip
"""A row of three numbers."""


def row(part: bytes) -> bytes:
    return zipped("a/data.pkl", ("a/data/0", ARRAY[0].tobytes()))(part)


def index_of(*parts: bytes) -> bytes:
    """Return the index of a tensor with rows in parts, and of an object."""
    chunks, places, start = b"](", b"", 0
    for number, part in enumerate(parts):
        at = size(number, 0)
        chunks += made("ChunkStorageMetadata", mapped(offsets=at, sizes=size(1, 3)))
        offset, length = (b"J" + struct.pack("<i", each) for each in (start, len(part)))
        places += made("MetadataIndex", mapped(fqn=text("w"), offset=at, index=b"K%c" % number))
        places += made("_StorageInfo", mapped(relative_path=text(PARTS), offset=offset, length=length), "filesystem")
        start += len(part)
    properties = made("TensorProperties", b"(ctorch\nfloat32\nN\x89N\x89t")
    tensor = mapped(properties=properties, size=size(len(parts), 3), chunks=chunks + b"e")
    values = mapped(w=made("TensorStorageMetadata", tensor), o=made("BytesStorageMetadata", b"}"))
    paths = mapped(w=text("a") + text("w") + b"\x86", o=text("o") + b"\x85")
    fields = mapped(state_dict_metadata=values, planner_data=paths, storage_data=b"}(" + places + b"u")
    return b"\x80\2" + made("Metadata", fields) + b"."


def with_index(folder: Path, part: bytes) -> Path:
    """Write a torch.distributed.checkpoint folder with another index."""
    (folder / PARTS).write_bytes(2 * row(ROW))
    (folder / ".metadata").write_bytes(part)
    return folder


def with_row(folder: Path, part: bytes) -> Path:
    """Write such a folder with another part."""
    rows = row(part), row(ROW)
    (folder / PARTS).write_bytes(b"".join(rows))
    (folder / ".metadata").write_bytes(index_of(*rows))
    return folder


def of_files(folder: Path, part: bytes) -> Path:
    """Write the index of a sharded PyTorch checkpoint."""
    (folder / "a.bin").write_bytes(row(PICKLE.replace(b"K\x06", b"K\x03").replace(b"K\x02K\x03", b"K\x01K\x03")))
    (folder / "x.bin.index.json").write_bytes(part)
    return folder / "x.bin.index.json"


TARGETS: dict[str, Target] = {
    "index of files of PyTorch": Target(
        b'{"metadata":{"total_size":12},"weight_map":{"w":"a.bin"}}', of_files, scanned(read_checkpoint)
    ),
    "index of torch.distributed": Target(index_of(row(ROW), row(ROW)), with_index, scanned(read_checkpoint)),
    "part of torch.distributed": Target(ROW, with_row, scanned(read_checkpoint)),
    "model of ZeRO": Target(ZERO_MODEL, zero(True), scanned(read_checkpoint)),
    "process of ZeRO": Target(ZERO_OPTIMIZER, zero(False), scanned(read_checkpoint)),
}
