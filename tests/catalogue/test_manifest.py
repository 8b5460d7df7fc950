"""Manifests: read under the name and the number of where they are, and by a version that knows them."""

import pytest

from ckpttool.catalogue.manifest import FORMAT, Manifest, StoredFile
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
