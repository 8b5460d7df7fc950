"""`convert`: a checkpoint in another format, read by the safetensors package and TensorFlow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from ckpttool import checkpoint


def test_the_suffix_says_the_format(shell: Any, model: Path, tmp_path: Path) -> None:
    result = shell.run("convert", model, "-o", tmp_path / "model.safetensors")
    source = checkpoint.open(model)
    assert result.stdout == ""
    assert result.stderr == (
        f"the graph of {model} is not written: the output is a checkpoint without a graph\n"
        f"{tmp_path}/model.safetensors: written and read back as safetensors, 12 tensors "
        f"({sum(tensor.nbytes for tensor in source.values())} bytes)\n"
    )
    found = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: tensor.read().tobytes() for name, tensor in source.items()
    }


def after_header(path: Path) -> bytes:
    """The bytes of the tensors in a safetensors file, without the header, which has the lineage too."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_there_and_back_the_bytes_are_the_same(shell: Any, model: Path, tmp_path: Path) -> None:
    shell.run("convert", model, "-o", tmp_path / "a.safetensors")
    shell.run("convert", tmp_path / "a.safetensors", "-o", tmp_path / "b.ckpt")
    assert shell.json("diff", model, tmp_path / "b.ckpt")["changed"] == []
    shell.run("convert", tmp_path / "b.ckpt", "--to", "safetensors", "-o", tmp_path / "c")
    assert after_header(tmp_path / "a.safetensors") == after_header(tmp_path / "c")


def test_tensorflow_reads_what_comes_from_safetensors(shell: Any, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "on": np.array([True, False])}
    safetensors.numpy.save_file(arrays, tmp_path / "x.safetensors")
    shell.run("convert", tmp_path / "x.safetensors", "-o", tmp_path / "x.ckpt")
    reader = tf.train.load_checkpoint(str(tmp_path / "x.ckpt"))
    assert {name: reader.get_tensor(name).tolist() for name in arrays} == {n: a.tolist() for n, a in arrays.items()}


def test_several_files(shell: Any, model: Path, tmp_path: Path) -> None:
    shell.run("convert", model, "--shard-size", "500KB", "-o", tmp_path / "model.safetensors")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    sizes = [path.stat().st_size for path in tmp_path.glob("*-of-*")]
    assert len(sizes) == len(set(index["weight_map"].values())) > 1
    assert "12 tensors (1034840 bytes) checked: whole" in shell.run("verify", tmp_path).stderr


def test_a_plan_writes_nothing(shell: Any, tiny: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    rows = shell.json("convert", tiny, "--to", "safetensors", "--drop-slots", "--plan")
    assert [(row["name"], row["kind"], row["then"]) for row in rows] == [
        ("fc/bias", "weight", "written"),
        ("fc/kernel", "weight", "written"),
        ("fc/kernel/Momentum", "slot", "not selected"),
        ("global_step", "step", "written"),
    ]
    assert sorted(tmp_path.iterdir()) == before


def test_a_plan_needs_a_format(shell: Any, tiny: Path) -> None:
    assert "specify --to or -o" in shell.error("convert", tiny, "--plan")


def test_layers_with_their_slots(shell: Any, tiny: Path, tmp_path: Path) -> None:
    shell.run("convert", tiny, "--layers", "fc/kernel", "-o", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert sorted(found) == ["fc/kernel", "fc/kernel/Momentum"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    checkpoint.save({"w": np.ones(2), "vocabulary": np.array([b"a"], object)}, tmp_path / "texts.ckpt")
    return tmp_path / "texts.ckpt"


def test_strings_are_an_error_that_names_them(shell: Any, texts: Path, tmp_path: Path) -> None:
    line = shell.error("convert", texts, "-o", tmp_path / "x.safetensors")
    assert "vocabulary (string); --lenient" in line
    assert not (tmp_path / "x.safetensors").exists()


def test_nothing_is_left_out_of_what_is_not_written(shell: Any, texts: Path, tmp_path: Path) -> None:
    line = shell.error("convert", texts, "--lenient", "-o", tmp_path / "none" / "x.safetensors")
    assert "skipped" not in line


def test_lenient_goes_on_and_says_it(shell: Any, texts: Path, tmp_path: Path) -> None:
    result = shell.run("convert", texts, "--lenient", "-o", tmp_path / "x.safetensors")
    assert result.stderr.splitlines()[0] == "skipped, as safetensors cannot store it: vocabulary (string)"
    assert list(safetensors.numpy.load_file(tmp_path / "x.safetensors")) == ["w"]


def test_an_output_that_exists(shell: Any, tiny: Path, tmp_path: Path) -> None:
    shell.run("convert", tiny, "-o", tmp_path / "x.npz")
    assert "--overwrite replaces it" in shell.error("convert", tiny, "-o", tmp_path / "x.npz")
    shell.run("convert", tiny, "--overwrite", "-o", tmp_path / "x.npz")


@pytest.mark.parametrize("size", ["", "2XB", "0", "-1", "1.5GB", "GB"])
def test_sizes_that_are_none(shell: Any, tiny: Path, tmp_path: Path, size: str) -> None:
    assert "is not a size" in shell.error("convert", tiny, "--shard-size", size, "-o", tmp_path / "x.safetensors")


@pytest.mark.parametrize(("size", "files"), [("24", 4), ("24b", 4), ("1KB", 0), ("1 KiB", 0), ("2GB", 0), ("3m", 0)])
def test_sizes(shell: Any, tiny: Path, tmp_path: Path, size: str, files: int) -> None:
    shell.run("convert", tiny, "--shard-size", size, "-o", tmp_path / "x.safetensors")
    assert len(list(tmp_path.glob("x-*"))) == files


def test_a_format_that_does_not_exist(shell: Any, tiny: Path, tmp_path: Path) -> None:
    assert "no format is named 'gguv'" in shell.error("convert", tiny, "--to", "gguv", "-o", tmp_path / "x")


def test_a_damaged_source_leaves_no_output(shell: Any, copied: Path, flip: Any, tmp_path: Path) -> None:
    flip(Path(f"{copied}.data-00000-of-00001"), 10)
    result = shell.run("convert", copied, "-o", tmp_path / "x.safetensors", exit_code=2)
    assert "hidden1/bias is damaged" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "x.safetensors").exists()


def test_a_prefix_with_a_suffix_that_no_format_has_is_told(shell: Any, tiny: Path, tmp_path: Path) -> None:
    note = (
        "x.foo is written as the prefix of a TensorFlow checkpoint: no format has the suffix .foo (`ckpttool formats`"
    )
    for options in ([], ["--plan"]):
        assert note in shell.run("convert", tiny, "-o", tmp_path / "x.foo", *options).stderr
        (tmp_path / "x.foo.index").unlink(missing_ok=True)
    for output, options in (("x.ckpt-5", []), ("x-2", []), ("y.foo", ["--to", "bundle"])):
        assert "as the prefix" not in shell.run("convert", tiny, "-o", tmp_path / output, *options).stderr


def test_a_suffix_that_no_format_writes_names_those_that_are(shell: Any, tiny: Path, tmp_path: Path) -> None:
    line = shell.error("convert", tiny, "-o", tmp_path / "tiny.pt")
    assert "no format writes .pt files; known suffixes: bundle (.ckpt, .index), safetensors (.safetensors, " in line
    assert line.endswith("; specify the format with --to")
