"""The manifest in a model.json: what describes a weight and its files, and which limits it has."""

import json
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.tfjs import manifest
from ckpttool.formats.tfjs.manifest import Group, groups_of, is_model, read_document, texts_of

PATH = Path("web/model.json")


def weight(**changed: Any) -> dict[str, Any]:
    return {"name": "w", "shape": [3], "dtype": "float32", **changed}


def groups(*weights: Any, paths: Any = ("a.bin",)) -> list[Group]:
    files = list(paths) if isinstance(paths, tuple) else paths
    return list(groups_of(PATH, {"weightsManifest": [{"paths": files, "weights": list(weights)}]}))


@pytest.mark.parametrize(
    ("described", "nbytes"),
    [
        (weight(), 12),
        (weight(shape=[]), 4),
        (weight(shape=[0, 5]), 0),
        (weight(shape=[1] * 32), 4),
        (weight(dtype="complex64"), 24),
        (weight(dtype="string"), None),
        (weight(quantization={"dtype": "uint8", "scale": 1, "min": 0.5}), 3),
        (weight(quantization={"dtype": "float16"}), 6),
        (weight(dtype="int32", quantization={"dtype": "uint16", "scale": -1e299, "min": 0}), 6),
        (weight(shape=[(1 << 61) - 1]), 4 * ((1 << 61) - 1)),
        (weight(shape=[0, (1 << 61) - 1]), 0),
    ],
)
def test_a_weight_has_as_many_bytes_as_its_numbers_or_its_codes(described, nbytes):
    ((found,),) = (group.weights for group in groups(described))
    assert (found.spec.name, list(found.spec.shape), found.nbytes) == ("w", described["shape"], nbytes)


CODES = {"dtype": "uint8", "scale": 1.0, "min": 0.0}


@pytest.mark.parametrize(
    ("described", "says"),
    [
        (7, "a weight is 7, expected a name, a shape and a dtype"),
        (weight(name=7), "expected a name, a shape and a dtype"),
        (weight(dtype="float64"), "w has the dtype float64, which is not supported"),
        (weight(shape=None), "w has the shape None, expected a list of sizes"),
        (weight(shape=[1.0]), r"w has the shape \[1.0\], expected a list of sizes"),
        (weight(shape=[True]), r"w has the shape \[True\], expected a list of sizes"),
        (weight(shape=[-1]), r"w has the shape \[-1\], expected a list of sizes"),
        (weight(shape=[1 << 63]), "w has the impossible shape"),
        (weight(shape=[1] * 33), "w has the impossible shape"),
        (weight(shape=[1 << 61]), "w has the impossible shape"),
        (weight(shape=[0, 1 << 61]), "w has the impossible shape"),
        (weight(shape=[1 << 62, 2], dtype="string"), "w has the impossible shape"),
        (weight(quantization="uint8"), "w is float32 quantised by uint8, which is not supported"),
        (weight(quantization={"dtype": "uint4"}), "w is float32 quantised by .*uint4.*, which is not supported"),
        (weight(dtype="bool", quantization=CODES), "w is bool quantised by"),
        (weight(dtype="int32", quantization={"dtype": "float16"}), "w is int32 quantised by"),
        (weight(quantization={**CODES, "scale": None}), "expected a scale and a min"),
        (weight(quantization={**CODES, "scale": True}), "expected a scale and a min"),
        (weight(quantization={**CODES, "min": "0"}), "expected a scale and a min"),
        (weight(quantization={**CODES, "min": 1e300}), "expected a scale and a min"),
        (weight(quantization={**CODES, "min": float("nan")}), "expected a scale and a min"),
    ],
    ids=lambda each: str(each)[:60],
)
def test_a_weight_that_cannot_be_is_refused(described, says):
    with pytest.raises(FormatError, match=rf"web/model\.json: .*{says}"):
        groups(described)


@pytest.mark.parametrize(
    ("paths", "says"),
    [
        ("a.bin", "a group of weights is .*, expected paths and weights"),
        (("a.bin", "a.bin"), "its groups of weights list a file twice"),
        ((7,), "weights have the file 7, expected a file name"),
        (("",), "weights have the file , expected a file name"),
        (("../a.bin",), "weights have the file '../a.bin', which is outside of its folder"),
    ],
)
def test_files_that_cannot_be_are_refused(paths, says):
    with pytest.raises(FormatError, match=says):
        groups(weight(), paths=paths)


@pytest.mark.parametrize("group", [7, {"paths": []}, {"weights": []}, {"paths": [], "weights": {}}], ids=str)
def test_a_group_has_lists_of_files_and_of_weights(group):
    with pytest.raises(CorruptCheckpoint, match="expected paths and weights"):
        list(groups_of(PATH, {"weightsManifest": [group]}))


def test_as_many_files_and_texts_as_the_limits_are_read(monkeypatch):
    monkeypatch.setattr(manifest, "MOST_FILES", 2)
    monkeypatch.setattr(manifest, "MOST_TEXTS", 6)
    described = [{"paths": [name], "weights": [weight(dtype="string")]} for name in ("a.bin", "b.bin")]
    assert len(list(groups_of(PATH, {"weightsManifest": described}))) == 2
    with pytest.raises(FormatError, match="it lists over 2 files of weights, the limit"):
        list(groups_of(PATH, {"weightsManifest": [*described, {"paths": ["c.bin"], "weights": []}]}))
    with pytest.raises(FormatError, match="its weights contain 9 texts, at most 6 are read"):
        list(groups_of(PATH, {"weightsManifest": [*described, {"paths": [], "weights": [weight(dtype="string")]}]}))
    assert len(groups(weight(shape=[7]))) == 1


def test_a_document_is_an_object_with_a_manifest(tmp_path, monkeypatch):
    path = tmp_path / "model.json"
    for content in ([], {}, {"weightsManifest": {}}):
        path.write_text(json.dumps(content))
        with pytest.raises(CorruptCheckpoint, match=r"model\.json has no weightsManifest of weights to files"):
            read_document(path)
    path.write_text('{"weightsManifest":[]}')
    monkeypatch.setattr(manifest, "LIMIT", path.stat().st_size)
    assert read_document(path) == {"weightsManifest": []}
    monkeypatch.setattr(manifest, "LIMIT", path.stat().st_size - 1)
    with pytest.raises(CorruptCheckpoint, match=r"model\.json has more than \d+ bytes, the limit for a model\.json"):
        read_document(path)


def test_a_model_is_known_by_its_manifest(tmp_path):
    path = tmp_path / "model.json"
    assert not is_model(path)
    path.write_text('{"weightsManifest":[]}')
    assert is_model(path)
    assert is_model(tmp_path)
    assert not is_model(path.rename(tmp_path / "model.txt"))
    for content in ("[]", '{"layers":[]}', '["weightsManifest"]', ""):
        path.write_text(content)
        assert not is_model(path)


def test_texts_beside_the_manifest_are_metadata():
    document = {"format": "layers-model", "generatedBy": 7, "convertedBy": "me", "modelTopology": {}}
    assert texts_of(document) == {"format": "layers-model", "convertedBy": "me"}


def test_two_groups_do_not_share_a_file():
    described = [{"paths": [name], "weights": []} for name in ("a.bin", "b.bin", "a.bin")]
    assert len(list(groups_of(PATH, {"weightsManifest": described[:2]}))) == 2
    with pytest.raises(CorruptCheckpoint, match="its groups of weights list a file twice"):
        list(groups_of(PATH, {"weightsManifest": described}))
