"""Vocabularies: every form written by tokenizers, and invalid ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, FormatError, MissingFile
from ckpttool.surgery.merging import vocabulary
from ckpttool.surgery.merging.vocabulary import Vocabulary
from ckpttool.surgery.merging.vocabulary_tensors import VocabularyTensors

NUMBERS = {"[PAD]": 0, "the": 1, "\u2028": 2, "": 3}


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_token_to_a_line_as_bert_has_it(tmp_path: Path, end: str) -> None:
    assert Vocabulary.read(written(tmp_path / "vocab.txt", f"[PAD]\nthe\n\u2028\nx{end}")).numbers == {
        "[PAD]": 0,
        "the": 1,
        "\u2028": 2,
        "x": 3,
    }
    path = tmp_path / "dos.txt"
    path.write_bytes(b"a\r\nb\r\n")
    assert Vocabulary.read(path).numbers == {"a": 0, "b": 1}


def test_json_of_gpt2_and_of_lists(tmp_path: Path) -> None:
    assert Vocabulary.read(written(tmp_path / "vocab.json", NUMBERS)).numbers == NUMBERS
    assert Vocabulary.read(written(tmp_path / "list.json", list(NUMBERS))).numbers == NUMBERS


def test_the_file_of_sentencepiece_has_scores(tmp_path: Path) -> None:
    assert Vocabulary.read(written(tmp_path / "spm.vocab", "<unk>\t0\n\u2581the\t-3.5\n")).numbers == {
        "<unk>": 0,
        "\u2581the": 1,
    }


def test_a_tokenizer_has_its_model_s_tokens_and_added_ones(tmp_path: Path) -> None:
    added = [{"id": 1, "content": "the"}, {"id": 9, "content": "<end>"}]
    for model in ({"vocab": {"a": 0, "the": 1}}, {"type": "Unigram", "vocab": [["a", 0.0], ["the", -1.5]]}):
        folder = tmp_path / str(len(model))
        folder.mkdir()
        written(folder / "tokenizer.json", {"model": model, "added_tokens": added})
        found = Vocabulary.read(folder)
        assert (found.numbers, found.size) == ({"a": 0, "the": 1, "<end>": 9}, 10)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "x\ny\nx\n", "the token 'x' appears twice, as 0 and as 2"),
        ("a.txt", "", "has no tokens"),
        ("a.json", '{"x": 0, "x": 1}', "not valid JSON of tokens: the key 'x' appears twice in an object"),
        ("a.json", '{"x": 0, "y": 0}', "'x' and 'y' both have the number 0"),
        ("a.json", '{"x": true}', 'expected tokens and their numbers, such as {"the": 0}, or a tokenizer.json'),
        ("a.json", '{"x": -1}', "expected tokens and their numbers"),
        ("a.json", '{"x"', "not valid JSON of tokens"),
        ("a.json", "[" * 100_000, "not valid JSON of tokens: it is nested too deeply"),
        ("a.json", '["x", "x"]', "the token 'x' appears twice"),
        ("a.json", '["x", 3]', "expected tokens and their numbers"),
        ("a.json", '{"model": 7}', "expected tokens and their numbers"),
        ("a.json", '{"model": {"vocab": [["x"], 3]}}', "expected pairs of a token and its score"),
        ("a.json", '{"model": {"vocab": {"x": 0}}, "added_tokens": [3]}', "expected a list of objects"),
        ("a.json", '{"model": {"vocab": {"x": 0}}, "added_tokens": [{"id": "1", "content": "y"}]}', "expected tokens"),
        ("a.json", '{"model": {"vocab": {"x": 0}}, "added_tokens": [{"id": 4, "content": "x"}]}', "as 0 and as 4"),
    ],
)
def test_what_is_no_vocabulary(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(FormatError) as error:
        Vocabulary.read(written(tmp_path / name, content))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "tokens"),
    [
        ("a.vocab", "x\t-1\ny\t-2\n", ["x", "y"]),
        ("a.vocab", "x\ny\t-2\n", ["x", "y\t-2"]),
        ("a.txt", "x\t-1\ny\t-2\n", ["x\t-1", "y\t-2"]),
    ],
)
def test_scores_are_cut_off_in_a_vocab_file_that_has_them_alone(
    tmp_path: Path, name: str, content: str, tokens: list[str]
) -> None:
    assert list(Vocabulary.read(written(tmp_path / name, content)).numbers) == tokens


def test_what_is_not_there_or_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFile, match="is missing"):
        Vocabulary.read(tmp_path / "none.txt")
    with pytest.raises(MissingFile, match=r"expected tokenizer\.json, vocab\.json or vocab\.txt"):
        Vocabulary.read(tmp_path)
    (tmp_path / "spm.model").write_bytes(b"\x0a\xff\xfe")
    with pytest.raises(FormatError, match="save_pretrained"):
        Vocabulary.read(tmp_path / "spm.model")
    with pytest.raises(CkptError, match="URL"):
        Vocabulary.read(Path("https://host/vocab.txt"))
    monkeypatch.setattr(vocabulary, "MOST_BYTES", 3)
    with pytest.raises(FormatError, match="more than 3 bytes"):
        Vocabulary.read(written(tmp_path / "long.txt", "abcd"))


@pytest.mark.parametrize("content", [["x"], {"x": 1}, None, 7])
def test_an_added_token_without_a_text_is_refused(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"model": {"vocab": {"a": 0}}, "added_tokens": [{"content": content, "id": 1}]}))
    with pytest.raises(FormatError, match=r"tokenizer\.json: expected text as the content of an added token, found"):
        Vocabulary.read(file)


@pytest.mark.parametrize(
    ("name", "two", "three"),
    [
        ("vocab.txt", "a\nb\n", "a\nb\nc\n"),
        ("vocab.json", '{"a": 0, "b": 1}', '{"a": 0, "b": 1, "c": 2}'),
        ("vocab.json", '["a", "b"]', '["a", "b", "c"]'),
    ],
)
def test_more_tokens_than_any_vocabulary_has_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, two: str, three: str
) -> None:
    monkeypatch.setattr(vocabulary, "MOST_TOKENS", 2)
    (tmp_path / name).write_text(two)
    assert Vocabulary.read(tmp_path / name).size == 2
    (tmp_path / name).write_text(three)
    with pytest.raises(FormatError, match="is not a file of tokens: it has about 3, at most 2 are read"):
        Vocabulary.read(tmp_path / name)


def test_no_more_values_are_read_than_a_large_tokenizer_has(tmp_path: Path) -> None:
    gemma = 262_144 + 3 * 514_906  # tokens, and merges as pairs
    assert gemma < vocabulary.MOST_VALUES
    (tmp_path / "vocab.json").write_text("[" + "[]," * (vocabulary.MOST_VALUES // 2) + "[]]")
    with pytest.raises(FormatError, match="values, at most 2500000 are read"):
        Vocabulary.read(tmp_path / "vocab.json")


def test_weights_of_another_rank_and_empty_ones_have_no_rows_of_tokens() -> None:
    three, four = Vocabulary.of(["a", "b", "c"], "three"), Vocabulary.of(["a", "b", "c", "d"], "four")
    one, other = (
        Checkpoint.of({"e": np.ones((size, 2)), "turned": np.ones(shape), "none": np.ones((size, 0))})
        for size, shape in ((3, (3, 2)), (4, (4,)))
    )
    assert VocabularyTensors([one, other], [three, four], 1).axes() == {"e": 0}
