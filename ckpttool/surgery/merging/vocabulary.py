"""Vocabularies: the token of each embedding row, read from tokenizer files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ckpttool.core.counts import human_size
from ckpttool.core.errors import FormatError, MissingFile
from ckpttool.core.plain_files import is_file, opened
from ckpttool.formats.wire import strict_json
from ckpttool.remote.paths import refuse_url_input

FILES = ("tokenizer.json", "vocab.json", "vocab.txt")
"""The files that are looked for in a folder; the first one found is read."""
MOST_BYTES = 256 << 20
"""The maximum size of a token file in bytes; those of the largest models have 34 million."""
MOST_VALUES = 2_500_000
"""The maximum number of JSON values: enough for 250,000 tokens and 500,000 merges of two."""
MOST_TOKENS = 1_200_000
"""The maximum number of tokens: the largest vocabularies have a million; in memory a token takes 20 times its bytes."""


@dataclass(frozen=True)
class Vocabulary:
    """A mapping of tokens to row numbers; a row may have no token.

    >>> vocabulary = Vocabulary({"the": 0, "cat": 1, "<pad>": 7}, "vocab.txt")
    >>> vocabulary.size, str(vocabulary)
    (8, 'vocab.txt')
    """

    numbers: Mapping[str, int]
    source: str = "the vocabulary"

    @property
    def size(self) -> int:
        """The number of rows that it needs: one more than the largest row number."""
        return 1 + max(self.numbers.values(), default=-1)

    def __str__(self) -> str:
        return self.source

    @classmethod
    def of(cls, tokens: Iterable[str], source: str = "the vocabulary") -> Self:
        """Return the vocabulary of tokens numbered in order.

        Raises:
            FormatError: there are none, or one is duplicate.
        """
        numbers: dict[str, int] = {}
        for number, token in enumerate(tokens):
            if numbers.setdefault(token, number) != number:
                raise FormatError(f"{source}: the token {token!r} appears twice, as {numbers[token]} and as {number}")
        return cls._checked(numbers, source)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a token file, or the first of `FILES` in a folder.

        A `.json` file is Hugging Face's `tokenizer.json`, an object that maps tokens to numbers, or a list of tokens; a
        `.vocab` file is SentencePiece's, with a tab after each token; any other file has one token per line.

        Raises:
            MissingFile: the file does not exist.
            FormatError: it is not such a file, or exceeds a limit.
        """
        refuse_url_input(path)
        file = next((each for name in FILES if is_file(each := path / name)), path) if path.is_dir() else path
        if file.is_dir():
            raise MissingFile(f"{path} has no tokens: expected {', '.join(FILES[:-1])} or {FILES[-1]} in it")
        raw = _content(file)
        if file.suffix == ".json":
            return cls._of_json(raw, str(file))
        _require_few(raw.count(b"\n"), str(file))
        try:
            lines = raw.decode("utf-8").removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            remedy = "`save_pretrained` of transformers saves a model of SentencePiece as tokenizer.json"
            raise FormatError(f"{file} is not a text in UTF-8, expected one token per line; {remedy}") from error
        lines = [line.removesuffix("\r") for line in lines] if raw else []
        tabbed = file.suffix == ".vocab" and all("\t" in line for line in lines)
        return cls.of((line.rpartition("\t")[0] for line in lines) if tabbed else lines, str(file))

    @classmethod
    def _of_json(cls, raw: bytes, source: str) -> Self:
        _require_few(raw.count(b":"), source)  # one per token in an object
        try:
            found = strict_json.parse(raw, MOST_VALUES)
        except ValueError as error:
            raise FormatError(f"{source}: not valid JSON of tokens: {error}") from error
        if isinstance(found, dict) and "model" in found:
            return cls._of_tokenizer(found, source)
        if isinstance(found, list) and all(isinstance(token, str) for token in found):
            _require_few(len(found), source)
            return cls.of(found, source)
        return cls._checked(_numbered(found, source), source)

    @classmethod
    def _of_tokenizer(cls, document: dict[str, Any], source: str) -> Self:
        """Return the tokens of a `tokenizer.json`: the model's and the added ones."""
        model, added = document["model"], document.get("added_tokens") or []
        found = model.get("vocab") if isinstance(model, dict) else None
        if isinstance(found, list):  # of Unigram: pairs of a piece and its score
            if not all(isinstance(pair, list) and pair and isinstance(pair[0], str) for pair in found):
                raise FormatError(f"{source}: expected pairs of a token and its score in model.vocab")
            numbers = dict(cls.of((pair[0] for pair in found), source).numbers)
        else:
            numbers = dict(_numbered(found, source))
        if not (isinstance(added, list) and all(isinstance(each, dict) for each in added)):
            raise FormatError(f"{source}: expected a list of objects in added_tokens")
        for token, number in ((each.get("content"), each.get("id")) for each in added):
            if not isinstance(token, str):
                raise FormatError(f"{source}: expected text as the content of an added token, found {str(token)[:80]}")
            own = _numbered({token: number}, source)
            if numbers.setdefault(str(token), own[str(token)]) != number:
                raise FormatError(f"{source}: the token {token!r} appears as {numbers[str(token)]} and as {number}")
        return cls._checked(numbers, source)

    @classmethod
    def _checked(cls, numbers: Mapping[str, int], source: str) -> Self:
        """Return the vocabulary, if it is valid.

        Raises:
            FormatError: it is empty, or two tokens have the same number.
        """
        if not numbers:
            raise FormatError(f"{source} has no tokens")
        if len(set(numbers.values())) < len(numbers):
            tokens: dict[int, str] = {}
            for token, number in numbers.items():
                if tokens.setdefault(number, token) != token:
                    raise FormatError(f"{source}: {tokens[number]!r} and {token!r} both have the number {number}")
        return cls(numbers, source)


def _require_few(tokens: int, source: str) -> None:
    if tokens > MOST_TOKENS:
        raise FormatError(f"{source} is not a file of tokens: it has about {tokens}, at most {MOST_TOKENS} are read")


def _content(file: Path) -> bytes:
    """Return the bytes of a file of bounded size."""
    try:
        with opened(file) as stream:
            raw = stream.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise MissingFile(f"{file} is missing") from error
    if len(raw) > MOST_BYTES:
        raise FormatError(f"{file} is not a file of tokens: it has more than {human_size(MOST_BYTES)}")
    return raw


def _numbered(found: Any, source: str) -> Mapping[str, int]:
    """Return parsed JSON as a mapping of tokens to numbers, after checking that it is one."""
    if not isinstance(found, dict) or not all(
        isinstance(token, str) and type(number) is int and number >= 0 for token, number in found.items()
    ):
        raise FormatError(f'{source}: expected tokens and their numbers, such as {{"the": 0}}, or a tokenizer.json')
    return found
