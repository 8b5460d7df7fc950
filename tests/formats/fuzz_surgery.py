"""Other inputs of surgery and the catalogue: patches, plans, steps, tokens, adapters, cards, manifests."""

import io
import json
import struct
from pathlib import Path

import cramjam
import numpy as np
from fuzz_target import ARRAY, Target, checked, one_file, scanned

from ckpttool.catalogue.manifest import Manifest
from ckpttool.checkpoint import Checkpoint
from ckpttool.formats.patch.file import BLOCK_HEAD, MAGIC, TAIL, PatchFile, framed
from ckpttool.formats.wire import crc
from ckpttool.lineage.provenance import UNKNOWN
from ckpttool.plans.run import carry_out
from ckpttool.plans.script import Script
from ckpttool.surgery.adapters.adapter import Adapter
from ckpttool.surgery.edits.steps import apply, read_script
from ckpttool.surgery.merging.vocabulary import Vocabulary
from ckpttool.surgery.patching.applying import patched
from ckpttool.surgery.patching.making import delta
from ckpttool.zoo.card import parsed

BASE = {"text": np.array([b"a", b"bc"]), "w": np.linspace(1, 2, 64, dtype=np.float32), "same": np.ones(3)}
TUNED = BASE | {"w": BASE["w"] + np.float32(1e-6), "text": np.array([b"a", b"d"])}


def patch() -> tuple[bytes, bytes]:
    """Return the blocks of a patch, those of `text` and `w`, and its directory."""
    out = io.BytesIO()
    delta(Checkpoint.of(BASE), Checkpoint.of(TUNED)).write(out)
    whole = out.getvalue()
    size, unpacked, *_ = TAIL.unpack(whole[-TAIL.size :])
    begin = len(whole) - TAIL.size - size
    return whole[len(MAGIC) : begin], bytes(cramjam.zstd.decompress(whole[begin : begin + size], unpacked))


BLOCKS, DIRECTORY = patch()
FIRST = BLOCK_HEAD.size + BLOCK_HEAD.unpack_from(BLOCKS)[0]


def of_directory(text: bytes, blocks: bytes = BLOCKS) -> bytes:
    """Return a patch with a repaired checksum of its directory."""
    small = bytes(cramjam.zstd.compress(text, 1))
    return MAGIC + blocks + small + TAIL.pack(len(small), len(text), crc.extend(0, small), MAGIC)


def of_block(part: bytes) -> bytes:
    """Return a patch whose second block is the part, with a matching directory."""
    facts, block = json.loads(DIRECTORY), framed(part)
    last = max(facts["tensors"], key=lambda each: each[-1][0])
    last[-1][1] = len(block)
    return of_directory(json.dumps(facts).encode(), BLOCKS[:FIRST] + block)


def apply_patch(path: Path) -> None:
    read_all(patched(Checkpoint.of(BASE), PatchFile(path), UNKNOWN))


def read_all(tensors: Checkpoint) -> None:
    for tensor in tensors.values():
        if tensor.nbytes < 1 << 20:
            tensor.read()


MODEL = {
    "bert/layer_0/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "bert/layer_1/kernel": np.ones((3, 4), np.float32),
    "bert/embedding": np.arange(8, dtype=np.float32).reshape(4, 2),
    "fc/bias": np.zeros(4, np.float32),
}
PLAN = b"""sources = ["a", "b"]
[variables]
width = 4
[[step]]
for = "bert/layer_{i}"
rename = "bert/layer_{i}=>block{i}"
[[step]]
assert = "block.*"
shape = ["?", "{width}"]
norm = [0, 100]
count = 2
exactly = ["block0/kernel", "block1/kernel"]
dtype = "float32"
[[step]]
cast = "fc/bias=float16"
[[step]]
merge = ["a", "b"]
how = "task-arithmetic"
base = "a"
weights = [1, 1]
scale = ["fc=0.5"]
lenient = true
as = "c"
[[step]]
average = ["c", "b"]
decay = 0.5
lenient = true
as = "d"
[[step]]
on = "a"
assert = "fc/.*"
equals = "b"
within = 0.5
finite = true
"""
SCRIPT = b"""edit = [
{rename = "fc=>out"},
{transpose = "bert/layer_0/kernel=1,0"},
{slice = "bert/embedding=0:0:2"},
{pad = "out/bias=0:1,2:0.5"},
{scale = "out/bias=2"},
{clamp = "bert/layer_1/.*=-1,1"},
{reduce = "bert/layer_1/.*=sum,axis=1"},
{resize = "bert/embedding = to(3, axis=0, fill=mean)"},
{set = "out/bias=1"},
]
"""


def carry_out_plan(path: Path) -> None:
    sources = Checkpoint.of(MODEL), Checkpoint.of(MODEL)
    carried = carry_out(Script.read(path), dict(zip("ab", sources, strict=True)))
    read_all(carried.edited.tensors)
    carried.checks.finish()


def carry_out_edits(path: Path) -> None:
    read_all(apply(Checkpoint.of(MODEL), read_script(path)).tensors)


TOKENIZER = json.dumps(
    {
        "version": "1.0",
        "added_tokens": [{"id": 3, "content": "[MASK]", "special": True}],
        "model": {"type": "WordPiece", "vocab": {"the": 0, "cat": 1, "##s": 2}},
    }
).encode()


def safetensors(**arrays: np.ndarray) -> bytes:
    """Return a safetensors file of float32 tensors."""
    header, end = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end := end + array.nbytes]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in arrays.values())


FACTORS = {f"base_model.model.fc.lora_{part}.weight": array for part, array in (("A", ARRAY), ("B", ARRAY.T.copy()))}
ADAPTER = json.dumps(
    {
        **{"peft_type": "LORA", "lora_alpha": 4, "r": 2, "alpha_pattern": {"fc": 2}, "rank_pattern": {"^a.*": 1}},
        **{"use_rslora": True, "fan_in_fan_out": False, "feedforward_modules": ["fc"]},
    }
).encode()


def beside_factors(folder: Path, part: bytes) -> Path:
    """Write a PEFT adapter with another configuration."""
    (folder / "adapter_model.safetensors").write_bytes(safetensors(**FACTORS))
    (folder / "adapter_config.json").write_bytes(part)
    return folder


def apply_adapter(path: Path) -> None:
    base = Checkpoint.of({"fc.weight": np.zeros((3, 3), np.float32)})
    for name, change in Adapter.open(path).changes(base).items():
        change.on(base[name]).read()


CARD = b"""---
license: mit
tags: [vision, "digits"]
metrics:
- accuracy
model-index:
- name: digits
  results:
  - task: {type: image}
    metrics:
    - type: accuracy
      value: 0.97
---
# Digits
"""
HASH = "ab" * 32
KEPT = json.dumps(
    {
        **{
            "format": 1,
            "name": "digits",
            "revision": 1,
            "created": "2026-01-01T00:00:00+00:00",
            "family": "weights",
        },
        **{"main": "a.npz", "files": [{"path": "a.npz", "sha256": HASH, "bytes": 3}], "parameters": 6},
        "tensors": [{"name": "w", "dtype": "float32", "shape": [2, 3], "sha256": HASH}],
        **{"layers": [], "inputs": [], "outputs": [], "preprocess": None, "classes": ["a"]},
        **{"card": {"license": "mit", "metrics": [{"name": "accuracy", "value": 0.97}]}, "lineage": {}, "source": None},
    }
).encode()
TARGETS: dict[str, Target] = {
    "directory of a patch": Target(DIRECTORY, one_file("x.patch", of_directory), apply_patch),
    "block of a patch": Target(BLOCKS[FIRST + BLOCK_HEAD.size :], one_file("x.patch", of_block), apply_patch),
    "plan": Target(PLAN, one_file("x.toml"), carry_out_plan),
    "script of edits": Target(SCRIPT, one_file("x.toml"), carry_out_edits),
    "tokens in JSON": Target(TOKENIZER, one_file("tokenizer.json"), Vocabulary.read),
    "tokens in lines": Target(b"the\t-1.5\ncat\t-2\n##s\t0\n", one_file("x.vocab"), Vocabulary.read),
    "configuration of an adapter": Target(ADAPTER, beside_factors, scanned(apply_adapter)),
    "card": Target(
        CARD, one_file("card.md"), lambda path: parsed(path.read_text("utf-8", "surrogateescape"), "card.md")
    ),
    "manifest of the catalogue": Target(
        KEPT, one_file("x.json", checked), lambda path: Manifest.loads(path.read_bytes(), "digits", 1)
    ),
}
