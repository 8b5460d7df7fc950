"""Names and tokens in files: impossible file names, long names of many tensors, vocabularies, parts in one place."""

import json
import pickle
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from crafting import Case, file, refusals

NAMES = {
    "a NUL": "a\0b",
    "half a pair": "a\ud800",
    "nothing": "",
    "itself": ".",
    "above": "..",
    "elsewhere": "../x/one",
    "a device": "/dev/zero",
    "300 letters": "a" * 300,
    "a newline": "a\nb",
}


def safetensors(header: object) -> bytes:
    """Return a file with this header and the four bytes of one number."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * 4


def folder(opened: str, **files: object) -> Callable[[Path], Path]:
    """Return a function that makes a folder of files with these contents, JSON or bytes, and returns one of them."""

    def make(place: Path) -> Path:
        for name, content in files.items():
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            (place / name.replace("_", ".")).write_bytes(raw)
        return place / opened

    return make


def distributed(named: str) -> Callable[[Path], Path]:
    """Return a maker of a torch.distributed.checkpoint folder whose metadata has this file name for its part."""

    def make(place: Path) -> Path:
        import torch
        from torch.distributed.checkpoint.filesystem import _StorageInfo
        from torch.distributed.checkpoint.state_dict_saver import save

        save({"w": torch.ones(2)}, checkpoint_id=str(place / "x"), no_dist=True)
        index = place / "x" / ".metadata"
        said = pickle.loads(index.read_bytes())  # noqa: S301 (of our own process)
        for key, info in said.storage_data.items():
            said.storage_data[key] = _StorageInfo(named, info.offset, info.length)
        index.write_bytes(pickle.dumps(said))
        return place / "x"

    return make


def cut_along(axis: int, count: int) -> Callable[[Path], Path]:
    """Return a maker of such a folder with a tensor in many parts along an axis, all at one offset."""

    def make(place: Path) -> Path:
        import torch
        from torch.distributed.checkpoint import metadata as known
        from torch.distributed.checkpoint.filesystem import _StorageInfo

        path = place / "x"
        path.mkdir()
        (path / "__0_0.distcp").write_bytes(b"x" * 1000)
        shape, one = torch.Size((2, count) if axis else (count, 1)), torch.Size((1, 1))
        places = [torch.Size((0, at) if axis else (at, 0)) for at in range(count)]
        chunks = [known.ChunkStorageMetadata(place, one) for place in places]
        stored = {known.MetadataIndex("w", place): _StorageInfo("__0_0.distcp", 0, 1000) for place in places}
        entry = known.TensorStorageMetadata(known.TensorProperties(torch.float32), shape, chunks)
        (path / ".metadata").write_bytes(pickle.dumps(known.Metadata({"w": entry}, {"w": ("w",)}, stored)))
        return path

    return make


def hdf5(above: str, count: int) -> Callable[[Path], Path]:
    """Return a file whose group has a long name and many small datasets."""

    def make(place: Path) -> Path:
        import h5py
        import numpy as np

        with h5py.File(place / "x.h5", "w") as out:
            group = out.create_group(above)
            for number in range(count):
                group[str(number)] = np.uint8(1)
        return place / "x.h5"

    return make


def flax(above: int, count: int) -> bytes:
    """Return a Flax file with a long name above many arrays of one byte."""

    def text(value: bytes) -> bytes:
        return b"\xdb" + struct.pack(">I", len(value)) + value

    array = b"\x93\x91\x01\xa5uint8\xc4\x01\x01"
    leaves = b"".join(text(b"%d" % number) + b"\xc7" + bytes([len(array), 1]) + array for number in range(count))
    return b"\x81" + text(b"k" * above) + b"\xdf" + struct.pack(">I", count) + leaves


def gguf(entries: bytes, count: int) -> bytes:
    """Return a GGUF file with these metadata entries and no tensor."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, count) + entries + b"\0" * 64


def vocabulary(path: Path) -> object:
    """Read a file of tokens."""
    from ckpttool.surgery.merging.vocabulary import Vocabulary

    return Vocabulary.read(path).size


def vocabularies() -> Iterator[Case]:
    """Yield files of tokens, as `merge --vocab` reads them."""
    added = {"model": {"vocab": {"a": 0}}, "added_tokens": [{"content": ["x"], "id": 1}]}
    for name, called, make in (
        ("20 million newlines", "v.txt", lambda: b"\n" * 20_000_000),
        ("3 million lines", "v.txt", lambda: b"".join(b"%d\n" % number for number in range(3_000_000))),
        ("a line of 50 MB", "v.txt", lambda: b"a" * 50_000_000),
        ("an added token that is a list", "tokenizer.json", lambda: json.dumps(added).encode()),
        ("a number of 5,000 digits", "v.json", lambda: b'{"x":' + b"9" * 5000 + b"}"),
        ("lists in lists", "v.json", lambda: b"[" * 100_000),
        ("3.5 million lists", "v.json", lambda: b"[" + b"[]," * 3_500_000 + b"[]]"),
    ):
        yield Case(f"tokens: {name}", file(called, make), refusals(vocabulary))


def adapter(config: bytes, rank: int = 1) -> Callable[[Path], Path]:
    """Return a maker of an adapter with this configuration and factors of this rank, next to its base model."""

    def make(place: Path) -> Path:
        import numpy as np

        from ckpttool import checkpoint

        root = "base_model.model.w.lora"
        factors = {f"{root}_A.weight": np.ones((rank, 2)), f"{root}_B.weight": np.ones((2, rank))}
        checkpoint.save(factors, place / "adapter_model.safetensors")
        (place / "adapter_config.json").write_bytes(config)
        checkpoint.save({"w.weight": np.ones((2, 2))}, place / "base.npz")
        return place

    return make


def folded(path: Path) -> object:
    """Merge an adapter into the model next to it."""
    from ckpttool import checkpoint

    tensors = checkpoint.open(path / "base.npz").fold_adapter(str(path))
    return [tensor.read().tolist() for tensor in tensors.values()]


def adapters() -> Iterator[Case]:
    """Yield adapters with impossible configurations."""
    known = b'{"peft_type": "LORA", "r": 1, "lora_alpha": %s}'
    for name, config, rank in (
        ("alpha of 400 digits", known % (b"1" + b"0" * 400), 1),
        ("a pattern without end", known[:-1] % b"1" + b', "alpha_pattern": {"(a+)+b": 1}}', 1),
        ("rank 0", known % b"1", 0),
        ("lists in lists", b"[" * 100_000, 1),
    ):
        yield Case(f"adapter: {name}", adapter(config, rank), refusals(folded))


def cases() -> Iterator[Case]:
    """Yield the cases."""
    one = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    for name, named in NAMES.items():
        index = {"metadata": {}, "weight_map": {"a": named}}
        yield Case(
            f"names: an index of safetensors, {name}",
            folder("model.safetensors.index.json", model_safetensors_index_json=index, one=safetensors(one)),
        )
        weights = [{"paths": [named], "weights": [{"name": "a", "shape": [1], "dtype": "float32"}]}]
        yield Case(
            f"names: tf.js, {name}", folder("model.json", model_json={"format": "x", "weightsManifest": weights})
        )
        yield Case(
            f"names: a map of Keras, {name}",
            folder("x.weights.json", x_weights_json={"weight_map": {"/vars": [named]}}),
        )
        yield Case(f"names: torch.distributed, {name}", distributed(named))
    yield from vocabularies()
    yield from adapters()
    yield Case("torch.distributed: 4,000 parts side by side", cut_along(1, 4000))
    yield Case("torch.distributed: 20,000 parts of the same bytes", cut_along(0, 20_000))
    yield Case("names: HDF5, 60,000 letters above 8,000", hdf5("k" * 60_000, 8000))
    yield Case("names: Flax, 500,000 letters above 20,000", file("x.msgpack", lambda: flax(500_000, 20_000)))
    text = struct.pack("<Q", 1) + b"k"
    for name, entries, count in (
        ("arrays in arrays", text + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 20, 1),
        ("200,000 arrays", text + struct.pack("<IIQ", 9, 9, 200_000) + struct.pack("<IQ", 9, 0) * 200_000, 1),
        ("an array of 2^60", text + struct.pack("<IIQ", 9, 10, 1 << 60), 1),
        ("one key a thousand times", (text + struct.pack("<IB", 0, 1)) * 1000, 1000),
    ):
        yield Case(f"gguf: {name}", file("x.gguf", partial(gguf, entries, count)))
