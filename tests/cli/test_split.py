"""`split` and `join`: files that TensorFlow and safetensors read, in any number, and back to one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from ckpttool import checkpoint
from ckpttool.formats.format import Writing

VALUES = {
    "a": np.arange(10, dtype=np.float32),
    "b": np.arange(30, dtype=np.float32).reshape(5, 6),
    "c": np.array([b"x", b"yz"], object),
    "d": np.arange(4, dtype=np.int64),
}


def listing(folder: Path, start: str) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(start))


def values(path: Path) -> dict[str, Any]:
    return {name: tensor.read().tolist() for name, tensor in checkpoint.open(path).items()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    checkpoint.save(VALUES, tmp_path / "whole.ckpt")
    return tmp_path / "whole.ckpt"


def test_tensorflow_reads_the_parts_of_a_bundle(shell: Any, source: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    result = shell.run("split", source, "--shard-size", "100", "-o", tmp_path / "parts")
    assert (result.stdout, result.stderr) == (
        "",
        f"{tmp_path}/parts: written and read back, 4 tensors (192 bytes)\n",
    )
    assert listing(tmp_path, "parts") == [
        *(f"parts.data-0000{n}-of-00003" for n in range(3)),
        "parts.index",
        "parts.lineage.json",
    ]
    sizes = [(tmp_path / f"parts.data-0000{n}-of-00003").stat().st_size for n in range(3)]
    assert sizes == [40, 120, 41]  # a larger tensor has its own file; strings do not count
    reader = tf.train.load_checkpoint(str(tmp_path / "parts"))
    assert {name: reader.get_tensor(name).tolist() for name in VALUES} == {n: a.tolist() for n, a in VALUES.items()}
    shell.run("verify", tmp_path / "parts")
    shell.run("join", tmp_path / "parts", "-o", tmp_path / "one.ckpt")
    assert listing(tmp_path, "one.ckpt.data") == ["one.ckpt.data-00000-of-00001"]
    assert (tmp_path / "one.ckpt.index").read_bytes() == Path(f"{source}.index").read_bytes()


def test_a_plain_tensorflow_1_program_restores_a_model_in_parts(
    shell: Any, model: Path, new_session: type[Any], tmp_path: Path
) -> None:
    result = shell.run("split", model, "--shard-size", "500KB", "-o", tmp_path / "parts.ckpt")
    assert result.stderr.endswith(f", with the graph of {model}.meta\n")
    assert len(listing(tmp_path, "parts.ckpt.data")) > 1
    before, after = new_session(model, model).weights(), new_session(tmp_path / "parts.ckpt", tmp_path / "parts.ckpt")
    assert all(np.array_equal(array, before[name]) for name, array in after.weights().items())


def test_an_object_checkpoint_in_parts(shell: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    net = tf.Module()
    net.one, net.two = tf.Variable(tf.range(8.0)), tf.Variable(tf.range(4.0))
    tf.train.Checkpoint(net=net).write(str(tmp_path / "whole"))
    shell.run("split", tmp_path / "whole", "--shard-size", "32", "-o", tmp_path / "parts")
    assert len(listing(tmp_path, "parts.data")) > 1
    net.one.assign(tf.zeros(8))
    tf.train.Checkpoint(net=net).read(str(tmp_path / "parts")).assert_consumed()
    assert net.one.numpy().tolist() == list(range(8))


def test_safetensors_get_an_index_and_lose_it(shell: Any, tmp_path: Path) -> None:
    numbers = {name: array for name, array in VALUES.items() if name != "c"}
    checkpoint.save(numbers, tmp_path / "whole.safetensors", how=Writing({"format": "pt"}))
    shell.run("split", tmp_path / "whole.safetensors", "--shard-size", "150", "-o", tmp_path / "parts.safetensors")
    parts = [f"parts-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert listing(tmp_path, "parts") == [*parts, "parts.safetensors.index.json"]
    found = {k: v.tolist() for part in parts for k, v in safetensors.numpy.load_file(tmp_path / part).items()}
    assert found == {name: array.tolist() for name, array in numbers.items()}
    shell.run("join", tmp_path / "parts.safetensors", "-o", tmp_path / "one.safetensors")
    whole = safetensors.numpy.load_file(tmp_path / "one.safetensors")
    assert {name: array.tolist() for name, array in whole.items()} == found
    assert checkpoint.open(tmp_path / "one.safetensors").metadata == {"format": "pt"}


def test_a_checkpoint_can_be_split_over_itself(shell: Any, source: Path) -> None:
    for size in ("1", "120", "1KB"):
        shell.run("split", source, "--shard-size", size, "-o", source, "--overwrite")
        assert values(source) == {name: array.tolist() for name, array in VALUES.items()}
        shell.run("verify", source)
    assert listing(source.parent, "whole.ckpt.data") == ["whole.ckpt.data-00000-of-00001"]


def test_what_has_one_file_only_is_refused(shell: Any, source: Path, tmp_path: Path) -> None:
    assert shell.error("split", source, "--shard-size", "9", "-o", tmp_path / "x.npz") == (
        "--shard-size does not apply to npz, only to object, bundle, safetensors, tfjs"
    )
    assert "Missing option '--shard-size'" in shell.error("split", source, "-o", tmp_path / "x")
    assert "is not a size" in shell.error("split", source, "--shard-size", "0", "-o", tmp_path / "x")
    assert "exists already" in shell.error("join", source, "-o", source)
    assert "stores numbers only" in shell.error("split", source, "--shard-size", "9", "-o", tmp_path / "x.safetensors")


def test_a_part_that_is_missing(shell: Any, source: Path, tmp_path: Path) -> None:
    shell.run("split", source, "--shard-size", "100", "-o", tmp_path / "parts")
    (tmp_path / "parts.data-00001-of-00003").unlink()
    assert "parts.data-00001-of-00003" in shell.error("join", tmp_path / "parts", "-o", tmp_path / "one")
    assert listing(tmp_path, "one") == []


def test_join_says_what_does_not_come_along(shell: Any, tmp_path: Path) -> None:
    checkpoint.save({"w": np.ones(2)}, tmp_path / "a.safetensors", how=Writing(metadata={"licence": "MIT"}))
    assert shell.run("join", tmp_path / "a.safetensors", "-o", tmp_path / "a.npz").stderr.splitlines() == [
        "skipped, as npz stores no texts: licence",
        f"{tmp_path / 'a.npz'}: written and read back, 1 tensor (16 bytes)",
    ]
