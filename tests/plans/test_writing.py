"""Plans as TOML: they are read again as written, whatever their strings contain."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpttool.core import toml_text
from ckpttool.plans.writing import written

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.one_of(TEXTS, st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False), st.lists(TEXTS))
TABLES = st.dictionaries(TEXTS.filter(bool), VALUES, min_size=1)


@given(
    st.dictionaries(TEXTS, st.dictionaries(st.sampled_from(["path", "sha256"]), TEXTS)),
    st.lists(TABLES, min_size=1),
    TEXTS,
)
def test_what_is_written_is_read_again(sources, steps, note):
    notes = {"": [note], **{name: [note] for name in sources}}
    text = "\n".join(written({"sources": sources, "step": steps}, notes))
    assert toml_text.loads(text) == {**({"sources": sources} if sources else {}), "step": steps}


@pytest.mark.parametrize("text", [r"hidden(\d)=>fc\1", "'", "\\'", '"', "\x1b[2J", "\x9b", "é\n"])
def test_texts_are_read_again_and_steer_no_terminal(text):
    line = "\n".join(written({"sources": {}, "step": [{"keep": text}]}))
    assert toml_text.loads(line)["step"] == [{"keep": text}]
    assert all(character.isprintable() or character == "\n" for character in line)


def test_numbers_that_json_has_not():
    text = "\n".join(written({"sources": {}, "step": [{"norm": [-math.inf, math.inf, 1e-9]}]}))
    assert json.dumps(toml_text.loads(text)["step"][0]["norm"]) == "[-Infinity, Infinity, 1e-09]"
