"""`verify`: whether a model is whole, and which tensors are not."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ckpttool import checkpoint


def test_a_whole_model(shell: Any, model: Path) -> None:
    result = shell.run("verify", model)
    assert result.stdout == ""
    assert result.stderr == f"{model}: 12 tensors (1034840 bytes) and a graph of 278 ops checked: whole\n"


def test_a_damaged_tensor_is_named_and_does_not_hide_the_next(
    shell: Any, copied: Path, flip: Callable[[Path, int], None]
) -> None:
    data = Path(f"{copied}.data-00000-of-00001")
    flip(data, 10)
    flip(data, data.stat().st_size - 1)
    found = shell.json("verify", copied, exit_code=1)
    assert [item["name"] for item in found["damaged"]] == ["hidden1/bias", "outputs/kernel"]
    assert (found["whole"], found["tensors"]) == (False, 12)


def test_truncated_data(shell: Any, copied: Path) -> None:
    data = Path(f"{copied}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    lines = shell.lines("verify", copied, exit_code=1)
    assert [line.split("\t")[0] for line in lines][-1] == "outputs/kernel"


def test_what_a_format_without_checksums_cannot_tell(shell: Any, model: Path, tmp_path: Path) -> None:
    """A changed number is valid: a hash or the lineage shows that it is another file."""
    out = tmp_path / "x.safetensors"
    shell.run("convert", model, "-o", out)
    hash_ = hashlib.sha256(out.read_bytes()).hexdigest()
    assert shell.run("verify", out).stderr.endswith(
        "only its structure was checked: --against a hash checks its bytes\n"
    )
    assert shell.run("verify", out, "--against", hash_).stderr.endswith(f"whole, and matches {hash_}\n")
    copy, lineage = tmp_path / "copy.ckpt", tmp_path / "copy.ckpt.lineage.json"
    shell.run("convert", out, "-o", copy)
    assert shell.json("verify", out, "--against", lineage)["whole"] is True
    assert shell.json("verify", copy, "--against", lineage)["checksums"] is True

    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    assert shell.json("verify", out)["whole"] is True
    for told in (hash_, f"sha256:{hash_.upper()}", lineage):
        found = shell.json("verify", out, "--against", told, exit_code=1)
        assert f"sha256:{hash_}" in found["damaged"][0]["problem"]
    assert "neither a file nor a SHA-256 of 64 hexadecimal digits" in shell.error("verify", out, "--against", "abc")
    assert "not a lineage" in shell.error("verify", out, "--against", out)


def test_a_zip_is_told_by_its_own_hash_and_by_that_of_its_directory(shell: Any, model: Path, tmp_path: Path) -> None:
    """`log` has the directory's, `sha256sum` that of all bytes; a lineage has those of output and sources."""
    out, lineage = tmp_path / "x.npz", tmp_path / "x.npz.lineage.json"
    shell.run("convert", model, "-o", out)
    whole = hashlib.sha256(out.read_bytes()).hexdigest()
    for path, told in ((out, whole), (out, lineage), (model, lineage)):
        assert shell.json("verify", path, "--against", told)["whole"] is True
    shell.run("edit", model, "--keep", "hidden1", "-o", tmp_path / "other.npz")
    problem = shell.json("verify", tmp_path / "other.npz", "--against", lineage, exit_code=1)["damaged"][0]["problem"]
    assert f"({out})" in problem
    assert f"({model})" in problem


def test_a_damaged_index(shell: Any, copied: Path, flip: Callable[[Path, int], None]) -> None:
    flip(Path(f"{copied}.index"), 20)
    (line,) = shell.lines("verify", copied, exit_code=1)
    assert line.startswith(str(copied))


def test_a_damaged_graph_beside_a_whole_checkpoint(shell: Any, copied: Path) -> None:
    meta = Path(f"{copied}.meta")
    meta.write_bytes(meta.read_bytes()[:-10])
    (line,) = shell.lines("verify", copied, exit_code=1)
    assert line.startswith(str(meta))


def test_a_graph_that_lacks_an_op(shell: Any, model: Path, tmp_path: Path) -> None:
    from ckpttool.graph import files
    from ckpttool.graph.core import Graph

    graph = files.load(model)
    place = next(i for i, node in enumerate(graph.meta.graph_def.node) if node.name == "dnn/hidden1/BiasAdd")
    del graph.meta.graph_def.node[place]
    files.save(Graph(graph.meta), tmp_path / "cut.meta")
    found = shell.json("verify", tmp_path / "cut.meta", exit_code=1)
    reader = {"name": "dnn/hidden1/Relu", "problem": "reads dnn/hidden1/BiasAdd, which is not in the graph"}
    assert reader in found["damaged"]
    assert found["format"] == "graph"


def test_unchanged_layers(shell: Any, model: Path, tmp_path: Path) -> None:
    tensors = {name: tensor.read() for name, tensor in checkpoint.open(model).items()}
    tensors["hidden3/bias"] = tensors["hidden3/bias"] + 1
    checkpoint.save(tensors, tmp_path / "tuned.ckpt")
    tuned = tmp_path / "tuned.ckpt"
    found = shell.json("verify", tuned, "--unchanged", "hidden[12]", model)
    assert found["unchanged"] == ["hidden1/bias", "hidden1/kernel", "hidden2/bias", "hidden2/kernel"]
    (line,) = shell.lines("verify", tuned, "--unchanged", "hidden[123]", model, exit_code=1)
    assert line == "hidden3/bias\thas other bytes"


def test_unchanged_needs_a_match(shell: Any, model: Path) -> None:
    assert "matches nothing" in shell.error("verify", model, "--unchanged", "hiden", model)


def test_nothing_to_verify(shell: Any, tmp_path: Path) -> None:
    assert "none.ckpt is missing" in shell.error("verify", tmp_path / "none.ckpt")
    (tmp_path / "text").write_text("hello")
    assert "not a checkpoint" in shell.error("verify", tmp_path / "text")


def test_a_graph_alone_is_held_against_what_is_told_of_it(shell: Any, copied: Path, tmp_path: Path) -> None:
    """It has no tensors: the message must not imply that any were compared."""
    graph = tmp_path / "alone.meta"
    Path(f"{copied}.meta").rename(graph)
    shell.run("collections", graph, "--add", "names", "X", "-o", tmp_path / "named.meta")
    told = [hashlib.sha256(graph.read_bytes()).hexdigest(), tmp_path / "named.meta.lineage.json"]
    for each in told:
        assert shell.run("verify", graph, "--against", each).stderr.endswith(f"checked: whole, and matches {each}\n")
    (line,) = shell.lines("verify", graph, "--against", "0" * 64, exit_code=1)
    assert line == f"{graph}\tis sha256:{told[0]}, expected sha256:{'0' * 64} (the hash)"
    assert shell.error("verify", graph, "--unchanged", ".*", copied) == (
        f"{graph} is a graph without a checkpoint: it has no tensors that --unchanged could compare"
    )
