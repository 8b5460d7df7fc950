"""Names of entries: how they select a revision, and which are rejected."""

from pathlib import Path

import pytest

from ckpttool.catalogue.names import Selector, is_entry, require_name, selector
from ckpttool.core.errors import CkptError

WRONG = ("", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", ".hidden", "-o", "a b", "a\0b", "a\n", "é", "a" * 101)


def test_a_name_alone_is_the_latest_revision() -> None:
    assert selector("digits") == selector("zoo:digits") == Selector("digits")
    assert selector("zoo:resnet-50.v2@12") == Selector("resnet-50.v2", revision=12)
    assert selector(Path("zoo:digits:best")) == Selector("digits", tag="best")
    assert str(selector("digits@3")) == "digits@3"


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(CkptError, match="cannot be the name"):
        require_name(name)
    for text in (name, f"{name}@1", f"x:{name}"):
        with pytest.raises(CkptError, match="names no entry"):
            selector(text)


@pytest.mark.parametrize("text", ["x@0", "x@-1", "x@", "x:", "x@1:best", "x@1e3", "x@٣"])
def test_what_is_no_revision_is_refused(text: str) -> None:
    with pytest.raises(CkptError, match="names no entry"):
        selector(text)


def test_paths_that_only_look_like_entries() -> None:
    assert is_entry("zoo:x")
    assert not any(map(is_entry, ("zoo/x", "ZOO:x", "./zoo:x", "s3://zoo:x")))
