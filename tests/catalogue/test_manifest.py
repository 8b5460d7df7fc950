"""Manifests: read under the name and the number of where they are, and by a version that knows them."""

import pytest

from ckpttool.catalogue import manifest
from ckpttool.catalogue.manifest import FORMAT, LARGEST, Manifest, StoredFile
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.wire import checked_json

MANIFEST = Manifest("net", 3, "2026-01-01T00:00:00+00:00", "weights", "w.npz", (StoredFile("w.npz", "a" * 64, 7),))


def test_a_manifest_has_the_name_of_its_folder():
    assert Manifest.loads(MANIFEST.dumps(), "net", 3).as_json() == MANIFEST.as_json()
    assert Manifest.loads(MANIFEST.dumps(), "moved", 3).name == "moved"


def test_a_manifest_of_another_revision_is_damaged():
    with pytest.raises(CorruptCheckpoint, match="the manifest of net@4 declares revision 3"):
        Manifest.loads(MANIFEST.dumps(), "net", 4)


def test_a_manifest_that_is_damaged_says_of_what():
    text = MANIFEST.dumps()
    with pytest.raises(CorruptCheckpoint, match="the manifest of net@3 is damaged: "):
        Manifest.loads(text[:-9] + b"}", "net", 3)
    invalid = checked_json.dumps(MANIFEST.as_json() | {"family": "none"}, indent=None)
    with pytest.raises(CorruptCheckpoint, match=r"^a manifest has the name 'net' and the family 'none'$"):
        Manifest.loads(invalid, "net", 3)


def test_a_manifest_of_a_newer_version_is_not_damaged():
    newer = checked_json.dumps(MANIFEST.as_json() | {"format": FORMAT + 1}, indent=None)
    with pytest.raises(FormatError, match=f"a manifest has format {FORMAT + 1}, .* reads up to {FORMAT}: update it"):
        Manifest.loads(newer, "net", 3)


TENSOR = {"name": "w", "shape": [0, 3], "dtype": "float32", "sha256": "b" * 64}
FILE = {"path": "w.npz", "sha256": "a" * 64, "bytes": 7}


@pytest.mark.parametrize(
    "facts, says",
    [
        ({"tensors": [TENSOR | {"shape": [-1]}]}, "has the tensor .* which is not valid"),
        ({"tensors": [TENSOR | {"shape": [LARGEST + 1]}]}, "has the tensor .* which is not valid"),
        ({"tensors": [TENSOR | {"shape": [True]}]}, "has the tensor .* which is not valid"),
        ({"tensors": [TENSOR | {"dtype": 3}]}, "has dtype: 3, not a str"),
        ({"tensors": [TENSOR | {"sha256": "B" * 64}]}, "has the tensor .* which is not valid"),
        ({"layers": [{"name": "l", "variables": [3]}]}, "something other than texts in variables"),
        ({"layers": [{"name": "l", "parameters": -1}]}, "has parameters: -1, expected 0 to"),
        ({"files": [FILE | {"sha256": "../" + "a" * 61}]}, r"'w\.npz' has the hash '\.\./a"),
        ({"files": [FILE | {"path": "../w.npz"}]}, "which is not inside its folder"),
        ({"files": [FILE | {"path": "w" * 256}]}, "which is not inside its folder"),
        ({"files": [FILE | {"path": ".Manifest.json"}]}, "which is not inside its folder"),
        ({"files": [FILE | {"bytes": True}]}, "has bytes: True, not a int"),
        ({"files": [FILE, FILE | {"path": "W.npz"}]}, "lists no files, or two under one path"),
        ({"files": []}, "lists no files, or two under one path"),
    ],
)
def test_a_field_that_no_manifest_has_is_named(facts, says):
    whole = MANIFEST.as_json() | {"tensors": [TENSOR], "layers": [{"name": "l", "variables": ["w"], "parameters": 0}]}
    assert Manifest.loads(checked_json.dumps(whole, indent=None), "net", 3).tensors == [TENSOR]
    with pytest.raises(CorruptCheckpoint, match=says):
        Manifest.loads(checked_json.dumps(whole | facts, indent=None), "net", 3)


def test_more_files_than_an_entry_has_are_refused(monkeypatch):
    monkeypatch.setattr(manifest, "MOST_FILES", 2)
    for count in (2, 3):
        rows = [FILE | {"path": f"{number}.npz"} for number in range(count)]
        text = checked_json.dumps(MANIFEST.as_json() | {"files": rows, "main": "0.npz"}, indent=None)
        if count == 2:
            assert len(Manifest.loads(text, "net", 3).files) == 2
        else:
            with pytest.raises(CorruptCheckpoint, match="its manifest lists 3 files, at most 2 are allowed"):
                Manifest.loads(text, "net", 3)
