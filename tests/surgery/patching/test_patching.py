"""Patches of checkpoints: the result is bit by bit the patched checkpoint, or there is none."""

import tracemalloc
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.dtypes import BY_NAME, DTYPES
from ckpttool.core.errors import CkptError, CorruptCheckpoint, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.patch.file import SAME, PatchFile
from ckpttool.lineage.provenance import UNKNOWN
from ckpttool.surgery.patching.applying import patched
from ckpttool.surgery.patching.making import delta

RANDOM = np.random.default_rng(7)


def applied(folder: Path, base: Checkpoint, tuned: Checkpoint, on: Checkpoint | None = None) -> Checkpoint:
    path = folder / "delta"
    with path.open("wb") as file:
        delta(base, tuned).write(file)
    return patched(on or base, PatchFile(path), UNKNOWN)


def bits(ckpt: Checkpoint) -> dict[str, Any]:
    """The properties and contents of tensors, to the bit."""
    return {
        name: (
            tensor.shape,
            tensor.dtype.name,
            b"".join(map(bytes, tensor.pieces())) if tensor.dtype.itemsize else tensor.read().ravel().tolist(),
        )
        for name, tensor in ckpt.items()
    }


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (5, 7)])
def test_every_dtype_comes_out_to_the_bit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    def drawn(seed: int) -> Checkpoint:
        random = np.random.default_rng(seed)
        tensors = {}
        for dtype in (dtype for dtype in DTYPES if dtype.itemsize):
            raw = random.bytes(int(np.prod(shape)) * dtype.itemsize)
            if dtype.name == "bool":
                raw = bytes(byte & 1 for byte in raw)
            array = np.frombuffer(raw, dtype.numpy).reshape(shape)
            tensors[dtype.name] = Tensor.of(dtype.name, array, dtype)
        texts = np.array([random.bytes(5) for _ in range(int(np.prod(shape)))], object).reshape(shape)
        return Checkpoint({**tensors, "string": Tensor.of("string", texts)})

    base, tuned = drawn(1), drawn(2)
    assert bits(applied(tmp_path, base, tuned)) == bits(tuned)


def test_names_come_and_go_and_shapes_and_dtypes_change(tmp_path: Path) -> None:
    kernel = RANDOM.normal(size=(40, 50)).astype(np.float32)
    base = Checkpoint.of({"hidden1/kernel": kernel, "fc/bias": np.ones(3), "old": np.zeros(2), "step": np.array(7)})
    tuned = Checkpoint.of(
        {"layer1/kernel": kernel, "fc/bias": np.ones(4), "step": np.array(8, np.int32), "new": np.full(3, 2.0)}
    )
    made = applied(tmp_path, base, tuned)
    assert bits(made) == bits(tuned)
    assert list(made) == list(tuned)
    assert made.origins == {"layer1/kernel": "hidden1/kernel"}
    rows = {str(row["name"]): row for row in delta(base, tuned).rows()}
    assert rows["layer1/kernel"]["difference"] == "is hidden1/kernel"
    assert rows["old"]["difference"] == "dropped"
    assert rows["step"]["difference"] == "shape or dtype"
    assert rows["new"]["difference"] == "new"


def test_a_copy_of_what_is_still_there_is_of_no_other_name(tmp_path: Path) -> None:
    values = RANDOM.normal(size=50)
    base, tuned = Checkpoint.of({"a": values}), Checkpoint.of({"a": values, "b": values})
    made = applied(tmp_path, base, tuned)
    assert (bits(made), made.origins) == (bits(tuned), {})


def test_texts_of_the_file_come_along(tmp_path: Path) -> None:
    base, tuned = (Checkpoint(Checkpoint.of({"x": np.ones(2)}), metadata={"format": text}) for text in ("pt", "tf"))
    assert applied(tmp_path, base, tuned).metadata == {"format": "tf"}


def test_the_base_may_lie_in_another_format(tmp_path: Path) -> None:
    base, tuned = ({"fc/kernel": np.full((30, 20), n, np.float32), "fc/bias": np.zeros(20)} for n in (1, 2))
    checkpoint.save(base, tmp_path / "base.npz")
    checkpoint.save(base, tmp_path / "base.ckpt")
    checkpoint.save(tuned, tmp_path / "tuned.safetensors")
    opened = checkpoint.open(tmp_path / "tuned.safetensors")
    made = applied(tmp_path, checkpoint.open(tmp_path / "base.npz"), opened, checkpoint.open(tmp_path / "base.ckpt"))
    assert bits(made) == bits(opened)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"low": np.ones(4), "top": np.ones(3)}, "low is float64 [4], expected float64 [3]"),
        ({"low": np.ones(3, np.float32), "top": np.ones(3)}, "low is float32 [3], expected float64 [3]"),
        ({"top": np.ones(3)}, "low is missing"),
        ({"low": np.ones(3), "top": np.ones(3), "more": np.ones(1)}, "more is an additional tensor"),
        ({"low": np.full(3, 5.0), "top": np.ones(3)}, "low has other values (SHA-256 "),
        ({"low": np.ones(3), "top": np.full(3, 2.0)}, "which is the result of the patch: it was applied already"),
    ],
)
def test_another_base_is_refused_by_its_first_tensor(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    base, tuned = (
        Checkpoint.of({"low": np.ones(3), "top": np.ones(3)}),
        Checkpoint.of({"low": np.ones(3), "top": np.full(3, 2.0)}),
    )
    with pytest.raises(PlanError) as error:
        applied(tmp_path, base, tuned, Checkpoint.of(change))
    assert why in str(error.value)
    assert str(error.value).startswith(f"checkpoint 1 is not the base of the patch {tmp_path / 'delta'}: ")


def test_a_block_that_is_damaged_is_found_when_it_is_read(tmp_path: Path) -> None:
    base, tuned = Checkpoint.of({"x": np.zeros(1000)}), Checkpoint.of({"x": RANDOM.normal(size=1000)})
    made = applied(tmp_path, base, tuned)
    path = tmp_path / "delta"
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CorruptCheckpoint, match="a block of x at byte 20 is damaged"):
        made["x"].read()


def test_a_bool_that_is_none_is_refused(tmp_path: Path) -> None:
    odd = Tensor.of("flag", np.array([2, 1], np.uint8).view(np.bool_), BY_NAME["bool"])
    made = applied(tmp_path, Checkpoint.of({"flag": np.array([True, True])}), Checkpoint({"flag": odd}))
    with pytest.raises(CkptError, match="contains a bool that is neither 0 nor 1"):
        made["flag"].read()


def test_frozen_layers_take_no_room(tmp_path: Path) -> None:
    frozen = {f"layer{n}/kernel": RANDOM.normal(size=(256, 256)).astype(np.float32) for n in range(20)}
    head = RANDOM.normal(size=(256, 10)).astype(np.float32)
    base = Checkpoint.of(frozen | {"head/kernel": head})
    tuned = Checkpoint.of(frozen | {"head/kernel": head + np.float32(1e-3) * RANDOM.normal(size=(256, 10)).astype("f")})
    made = applied(tmp_path, base, tuned)
    assert bits(made) == bits(tuned)
    assert [each.how for each in PatchFile(tmp_path / "delta").patch.tensors.values()].count(SAME) == 20
    size = (tmp_path / "delta").stat().st_size
    alone = len(bytes(cramjam.zstd.compress((head + 1e-3).tobytes(), 19)))
    assert size < alone + 3000
    assert size < sum(array.nbytes for array in frozen.values()) / 300


def test_memory_stays_bounded_whatever_the_tensors_size(tmp_path: Path) -> None:
    large = RANDOM.normal(size=6 << 20).astype(np.float32)
    checkpoint.save({"x": large}, tmp_path / "a.safetensors")
    checkpoint.save({"x": large * np.float32(1.0001)}, tmp_path / "b.safetensors")
    del large
    base, tuned = (checkpoint.open(tmp_path / f"{name}.safetensors") for name in "ab")
    tracemalloc.start()
    try:
        made = applied(tmp_path, base, tuned)
        checkpoint.save(made, tmp_path / "c.safetensors")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20
    assert bits(checkpoint.open(tmp_path / "c.safetensors")) == bits(tuned)
