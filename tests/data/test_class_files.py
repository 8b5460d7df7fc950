"""Files of class names in common forms, and invalid ones."""

import json
from pathlib import Path

import pytest

from ckpttool.core.errors import CkptError, DataError, MissingFile
from ckpttool.data.class_files import check_count, class_names_of

NAMES = ("tabby cat", "pug", "Ærø pony")


@pytest.mark.parametrize(
    "text",
    [
        "tabby cat\npug\nÆrø pony\n",
        "\ufefftabby cat\r\npug\r\nÆrø pony",
        "0:tabby cat\n1:pug\n2:Ærø pony\n\n",
        json.dumps(NAMES),
        json.dumps({"1": ["n02", "pug"], "0": ["n01", "tabby cat"], "2": ["n03", "Ærø pony"]}),
        json.dumps({"0": "tabby cat", "1": "pug", "2": "Ærø pony"}),
        json.dumps({"pug": 1, "Ærø pony": 2, "tabby cat": 0}),
    ],
    ids=["lines", "windows", "numbered", "list", "imagenet_class_index", "id2label", "class_indices"],
)
def test_names_in_the_order_of_their_numbers(tmp_path: Path, text: str) -> None:
    path = tmp_path / "names"
    path.write_bytes(text.encode())
    assert class_names_of(path) == class_names_of(str(path)) == NAMES


def test_names_from_a_program() -> None:
    assert class_names_of(None) == ()
    assert class_names_of(["crane", "pug", "crane"]) == ("crane (0)", "pug", "crane (2)")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "no names"),
        ("[]", "no names"),
        ("cat\n\ndog\n", "line 2 is empty"),
        ('["cat", 3]', "3 is not a name"),
        ('{"0": "cat", "2": "dog"}', "the class 1 has no name"),
        ('{"0": "cat", "0": "dog"}', "the key '0' appears twice"),
        ('["cat", "dog"', "not a valid file of class names"),
    ],
)
def test_what_has_no_names(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=found) as error:
        class_names_of(path)
    assert str(error.value).startswith(str(path))


def test_files_that_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="no such file of class names"):
        class_names_of(tmp_path / "none.txt")
    (tmp_path / "image.txt").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="not a valid file of class names"):
        class_names_of(tmp_path / "image.txt")
    with pytest.raises(CkptError, match="is a URL"):
        class_names_of("https://example.com/names.txt")


def test_as_many_names_as_outputs() -> None:
    check_count((), 5, "net.ckpt")
    check_count(NAMES, 3, "net.ckpt")
    check_count(NAMES[:2], 1, "net.ckpt")
    with pytest.raises(DataError, match=r"net[.]ckpt has 1 output, and there are 3 classes: tabby cat, pug"):
        check_count(NAMES, 1, "net.ckpt")
