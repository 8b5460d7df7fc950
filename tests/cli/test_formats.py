"""`formats`: the capabilities of each format."""

from typing import Any

from ckpttool.formats import registry


def test_a_row_to_a_format_in_the_order_of_the_registry(shell: Any) -> None:
    rows = [line.split("\t") for line in shell.lines("formats")]
    assert [row[0] for row in rows][: len(registry.BUILTIN)] == list(registry.BUILTIN)
    assert {len(row) for row in rows} == {5}
    npz = next(row for row in rows if row[0] == "npz")
    assert npz[1:3] == ["read, write", ".npz"]
    assert "bfloat16" in npz[3]
    assert "float32" not in npz[3]


def test_json_has_lists(shell: Any) -> None:
    by_name = {row["name"]: row for row in shell.json("formats")}
    assert by_name["safetensors"] == {
        "name": "safetensors",
        "can": "read, write",
        "suffixes": [".safetensors", ".safetensors.index.json"],
        "cannot_hold": [
            *("string", "qint8", "quint8", "qint32", "qint16", "quint16"),
            *("complex128", "variant", "int4", "uint4"),
        ],
        "limits": registry.get("safetensors").LIMITS,
    }
    assert by_name["onnx"]["can"] == "read"
    assert "any other name" in by_name["bundle"]["suffixes"]
