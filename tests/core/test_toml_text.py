"""TOML that would take long, or cause one of Python's own errors, is rejected with one kind of error."""

import time

import pytest

from ckpttool.core.toml_text import loads


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a = " + b"[" * 100_000, "lists or tables are nested too deeply"),
        (b"a." * 100_000 + b"b = 1", "more than 500 parts"),
        (b'"a" . ' * 100_000 + b"b = 1", "more than 500 parts"),
        (b"[" + b"a." * 100_000 + b"b]", "more than 500 parts"),
        (b"a = \xff", "utf-8"),
        (b"a = ", "Invalid value"),
        (b" " * (1 << 24) + b"a = 1", "16777221 bytes"),
    ],
    ids=range(7),
)
def test_it_is_refused(text, told):
    with pytest.raises(ValueError, match=told):
        loads(text)


def test_names_of_many_parts_are_read():
    name = ".".join("layer" for _ in range(300))
    assert loads(f'"{name}" = "{name}"') == {name: name}


@pytest.mark.parametrize("text", ['a = "WORD"', "a = 9.WORD", "WORD = 1"])
def test_a_long_word_takes_no_time_of_its_square(text):
    start = time.process_time()
    assert len(loads(text.replace("WORD", "9" * 2_000_000))) == 1
    assert time.process_time() - start < 3
