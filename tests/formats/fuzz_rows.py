"""Data rows, of the kinds that ckpttool itself reads; images use Pillow, whose errors must be converted."""

import io
import struct
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz_checkpoints import npy
from fuzz_target import ARRAY, Target, one_file, scanned
from PIL import Image

from ckpttool.core.dtypes import BY_NAME
from ckpttool.data.files import InputSpec, Wanted, open_data
from ckpttool.data.sources import csv, parquet, tfrecord
from ckpttool.data.sources.idx import read_idx
from ckpttool.data.sources.images import _sizes as sizes
from ckpttool.data.sources.images import pixels
from ckpttool.data.sources.records import seen_fields
from ckpttool.data.sources.tables import write_tables
from ckpttool.formats.wire import crc
from ckpttool.formats.wire.protos.example_pb2 import Example

WANTED = Wanted((InputSpec("X", (None, 2), BY_NAME["float32"]),), InputSpec("y", (None,), BY_NAME["int64"]))


def example() -> bytes:
    message = Example()
    message.features.feature["X"].float_list.value.extend([0.5, 1.5])
    message.features.feature["y"].int64_list.value.append(1)
    return message.SerializeToString()


def record(part: bytes) -> bytes:
    """Return a file of two records with their checksums."""
    length = struct.pack("<Q", len(part))
    whole = length + struct.pack("<I", crc.mask(crc.extend(0, length)))
    return 2 * (whole + part + struct.pack("<I", crc.mask(crc.extend(0, part))))


def read_records(path: Path) -> None:
    fields = seen_fields(path, WANTED)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        tfrecord._write(Path(folder), "", [path], fields, dict.fromkeys(fields))


def read_table(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        write_tables(Path(folder), {None: [csv._table(path)]}, WANTED)


def parquet_file() -> bytes:
    out = io.BytesIO()
    columns = {"X": [0.5, 1.5], "y": ["cat", "dog"], "v": [[1.0], [2.0]]}
    pq.write_table(pa.table(columns), out, use_dictionary=["y"], write_statistics=False, store_schema=False)
    return out.getvalue()


def read_parquet(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        write_tables(Path(folder), {None: [parquet._table(path)]}, WANTED)


def image() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((3, 2, 4), 90, np.uint8)).save(out, "png")
    return out.getvalue()


def read_image(path: Path) -> None:
    list(sizes([path]))
    pixels(path, str(path), (4, 4, 3))


TARGETS: dict[str, Target] = {
    "CSV": Target(b'X,b,y,split\n1,2.5,cat,train\n-3e2,"4",dog,valid\n', one_file("x.csv"), read_table),
    "npy": Target(npy(), one_file("x.npy"), scanned(lambda path: open_data(path).arrays["x"][:])),
    "IDX": Target(
        b"\0\0\x0d\2" + struct.pack(">II", *ARRAY.shape) + ARRAY.astype(">f4").tobytes(), one_file("x.idx2"), read_idx
    ),
    "record of a TFRecord": Target(example(), one_file("x.tfrecord", record), read_records),
    "Parquet": Target(parquet_file(), one_file("x.parquet"), read_parquet),
    "image": Target(image(), one_file("x.png"), read_image),
}
