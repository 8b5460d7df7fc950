"""JSON with one meaning: what parsers read differently is rejected, and exploding input."""

import pytest

from ckpttool.formats.wire import strict_json


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' appears twice in an object"),
        (b'{"a": NaN}', "NaN is not a valid number in JSON"),
        (b'{"a": -Infinity}', "-Infinity is not a valid number in JSON"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b"[" * 100_000 + b"]" * 100_000, "it is nested too deeply"),
        (b"\xff", "invalid start byte"),
        (b"[1", "delimiter"),
    ],
)
def test_what_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        strict_json.parse(text)


def test_what_is_read() -> None:
    assert strict_json.parse('{"a": "\\ud83d\\ude00 ä", "b": {"a": []}}'.encode()) == {"a": "😀 ä", "b": {"a": []}}
    assert strict_json.loads(b'{"a": NaN, "b": 1, "b": 2}')["b"] == 2
    assert strict_json.loads('["\ud800"]'.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match="it is nested too deeply"):
        strict_json.loads("[" * 100_000 + "]" * 100_000)


@pytest.mark.parametrize("read", [strict_json.loads, strict_json.parse])
@pytest.mark.parametrize("text", [b"[0,0,0]", b"[[],[]]", b'[{"a":{}}]'])
def test_values_are_counted_before_they_are_read(monkeypatch: pytest.MonkeyPatch, read: object, text: bytes) -> None:
    monkeypatch.setattr(strict_json, "MOST_VALUES", 4)
    assert read(text)  # type: ignore[operator]
    monkeypatch.setattr(strict_json, "MOST_VALUES", 2)
    with pytest.raises(ValueError, match=r"it has about [34] values, at most 2 are read"):
        read(text)  # type: ignore[operator]
