"""Vocabularies of different sizes: rows are matched by token; the reference is a dict of rows for each model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.blocks import arrays
from ckpttool.surgery.merge import plan_merge
from ckpttool.surgery.merging import rows as rows_module
from ckpttool.surgery.merging.alignment import align
from ckpttool.surgery.merging.vocabulary import Vocabulary

draw = np.random.default_rng(5)
WORDS = [["the", "a", "cat", "sat"], ["sat", "the", "dog"], ["ran", "cat", "the", "dog", "sun"]]
WIDTH = 6


def model(words: Sequence[str], pad: int = 0, **more: Any) -> dict[str, Any]:
    size = len(words) + pad
    return {
        "embed/kernel": draw.normal(size=(size, WIDTH)).astype("f"),
        "head/kernel": draw.normal(size=(WIDTH, size)).astype("f"),
        "head/bias": draw.normal(size=size).astype("f"),
        "fc/kernel": draw.normal(size=(WIDTH, WIDTH)).astype("f"),
        **more,
    }


MODELS = [model(words) for words in WORDS]
VOCABULARIES = [Vocabulary.of(words, f"{number}.txt") for number, words in enumerate(WORDS)]


def merged(models: Sequence[Any], vocabularies: Sequence[Vocabulary], how: str = "linear", **options: Any) -> Any:
    return plan_merge([Checkpoint.of(each) for each in models], how, vocab=vocabularies, **options)


def rows(values: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """Return each token's values in a model: its row of all three tensors, concatenated."""
    table = np.concatenate([values["embed/kernel"], values["head/kernel"].T, values["head/bias"][:, None]], 1)
    return {word: table[number].astype(np.float64) for number, word in enumerate(words)}


def mean_by_hand(token: str, tables: Sequence[dict[str, Any]], weights: Sequence[float]) -> Any:
    having = np.mean([table[token] for table in tables if token in table], axis=0)
    return sum(w * table.get(token, having) for w, table in zip(weights, tables, strict=True)) / sum(weights)


@pytest.mark.parametrize("lie_in", ["memory", "m.safetensors", "m", "m.npz"])
@pytest.mark.parametrize("tokens", ["all", "last"])
def test_each_token_has_the_mean_of_its_rows(tmp_path: Path, lie_in: str, tokens: Any) -> None:
    opened = [Checkpoint.of(each) for each in MODELS]
    if lie_in != "memory":
        for number, each in enumerate(MODELS):
            (tmp_path / str(number)).mkdir()
            checkpoint.save(each, tmp_path / str(number) / lie_in)
        opened = [checkpoint.open(tmp_path / str(number) / lie_in) for number in range(3)]
    weights = (1.0, 2.0, 3.0)
    joined = plan_merge(opened, "linear", weights=weights, vocab=VOCABULARIES, tokens=tokens)
    values = {name: tensor.read() for name, tensor in joined.tensors.items()}
    words = list(joined.vocabulary)
    assert words == [*WORDS[2], *(["a", "sat"] if tokens == "all" else [])]
    assert list(joined.vocabulary.values()) == list(range(len(words)))
    tables = [rows(each, own) for each, own in zip(MODELS, WORDS, strict=True)]
    for token, row in rows(values, words).items():
        np.testing.assert_allclose(row, mean_by_hand(token, tables, weights), rtol=1e-6, atol=1e-7)
    for name, tensor in joined.tensors.items():
        assert b"".join(map(bytes, tensor.pieces())) == values[name].tobytes()
        assert (tensor.shape, str(tensor.dtype)) == (values[name].shape, "float32")


def test_the_base_s_row_stands_for_one_that_a_model_lacks_so_that_it_has_learned_nothing() -> None:
    base, two = MODELS[0], MODELS[1:]
    words = [*VOCABULARIES[1:], VOCABULARIES[0]]
    joined = merged(two, words, "task-arithmetic", base=Checkpoint.of(base), weights=(0.5, 2.0))
    found = rows({name: tensor.read() for name, tensor in joined.tensors.items()}, list(joined.vocabulary))
    tables = [rows(each, own) for each, own in zip(MODELS, WORDS, strict=True)]
    np.testing.assert_allclose(found["a"], tables[0]["a"], rtol=1e-6)  # only the base has it
    moved = tables[0]["sat"] + 0.5 * (tables[1]["sat"] - tables[0]["sat"])
    np.testing.assert_allclose(found["sat"], moved, rtol=1e-5)
    middle = (tables[1]["dog"] + tables[2]["dog"]) / 2
    expected = middle + 0.5 * (tables[1]["dog"] - middle) + 2 * (tables[2]["dog"] - middle)
    np.testing.assert_allclose(found["dog"], expected, rtol=1e-5, atol=1e-6)


def test_a_token_s_row_is_that_of_the_model_that_is_named() -> None:
    tables = [rows(values, words) for values, words in zip(MODELS, WORDS, strict=True)]
    found = merged(MODELS, VOCABULARIES, token_rows=["the=2", "cat=1", "ran=3"])
    both = rows({name: tensor.read() for name, tensor in found.tensors.items()}, list(found.vocabulary))
    for token, place in (("the", 1), ("cat", 0), ("ran", 2)):
        np.testing.assert_allclose(both[token], tables[place][token], rtol=1e-6)
    np.testing.assert_allclose(both["dog"], mean_by_hand("dog", tables, [1, 1, 1]), rtol=1e-6)
    based = merged(MODELS[:2], VOCABULARIES, "ties", base=Checkpoint.of(MODELS[2]), token_rows=["the=base", "sat=2"])
    both = rows({name: tensor.read() for name, tensor in based.tensors.items()}, list(based.vocabulary))
    np.testing.assert_allclose(both["the"], tables[2]["the"], rtol=1e-6)
    np.testing.assert_allclose(both["sat"], tables[1]["sat"], rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("the=4", r"`token_rows` 'the=4': expected TOKEN=MODEL, the number of a model \(1 to 3\)"),
        ("the=base", r"expected TOKEN=MODEL, the number of a model \(1 to 3\)"),
        ("the", "expected TOKEN=MODEL"),
        ("=1", "expected TOKEN=MODEL"),
        ("dog=1", "0.txt has no token 'dog'; found in 1.txt, 2.txt"),
        ("bird=1", "0.txt has no token 'bird'; nor has any other vocabulary"),
    ],
)
def test_a_token_without_such_a_row(given: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        merged(MODELS, VOCABULARIES, token_rows=[given])


def test_a_row_for_a_token_that_is_left_out() -> None:
    with pytest.raises(PlanError, match="`token_rows`: the result has no token 'a', as `tokens` is last"):
        merged(MODELS, VOCABULARIES, tokens="last", token_rows=["a=1"])


def test_a_report_says_what_was_shared_and_added() -> None:
    joined = merged(MODELS, VOCABULARIES)
    assert joined.notes == (
        "7 tokens, 2 of them added to the last one's: 1 in all, 3 in some, 3 in one alone; a missing row is "
        "the mean of those that have it",
    )
    assert {row["name"]: (row["shape"], row["then"]) for row in joined.rows} == {
        "embed/kernel": ([7, WIDTH], "linear, tokens along axis 0"),
        "head/kernel": ([WIDTH, 7], "linear, tokens along axis 1"),
        "head/bias": ([7], "linear, tokens along axis 0"),
        "fc/kernel": ([WIDTH, WIDTH], "linear"),
    }
    assert joined.resized == ("embed/kernel", "head/kernel", "head/bias")


def test_rows_without_a_token_stay_as_the_last_has_them_and_new_tokens_take_their_places_first() -> None:
    one, other = model(WORDS[0], 2), model(WORDS[1], 3)
    patterns = ["embed, axis=0", "head/kernel,axis=1", "head/bias"]
    joined = merged([one, other], VOCABULARIES[:2], vocab_tensors=patterns)
    assert joined.vocabulary == {"sat": 0, "the": 1, "dog": 2, "a": 3, "cat": 4}
    kernel = joined.tensors["embed/kernel"].read()
    assert kernel.shape == (6, WIDTH)  # as many as the last one had, with room for all
    np.testing.assert_array_equal(kernel[3], one["embed/kernel"][1])
    np.testing.assert_array_equal(kernel[5], other["embed/kernel"][5])


def test_numbers_may_have_gaps() -> None:
    words = [Vocabulary({"the": 0, "end": 3}, "a"), Vocabulary({"end": 0, "new": 2}, "b")]
    one, other = ({"e": np.arange(count, dtype=float)[:, None] + start} for count, start in ((4, 0), (3, 10)))
    joined = merged([one, other], words, "sum", weights=(1, 1))
    assert joined.tensors["e"].read().ravel().tolist() == [13.0, 22.0, 24.0, 0.0]
    assert joined.vocabulary == {"end": 0, "new": 2, "the": 3}


@pytest.mark.parametrize("dtype", ["float16", "float64", "complex64"])
def test_dtypes_stay(dtype: str) -> None:
    models = [{name: array.astype(dtype) for name, array in each.items()} for each in MODELS[:2]]
    joined = merged(models, VOCABULARIES[:2])
    values = joined.tensors["embed/kernel"].read()
    assert str(values.dtype) == dtype
    np.testing.assert_array_equal(values[2], models[1]["embed/kernel"][2])


def test_a_large_tensor_of_memory_is_read_in_pieces_and_held_once_for_each_model() -> None:
    count = 0

    def read(array: Any) -> Any:
        nonlocal count
        count += 1
        return array

    words = [[f"{number}" for number in range(start, start + 3000)] for start in (0, 100)]
    arrays = [draw.normal(size=(3000, 64)).astype("f") for _ in words]
    lazy = [{"e": Tensor(Tensor.of("e", each).spec, lambda each=each: read(each))} for each in arrays]
    joined = merged(lazy, [Vocabulary.of(each) for each in words])
    sizes = [len(piece) for piece in joined.tensors["e"].pieces()]
    assert sum(sizes) == 3100 * 64 * 4
    assert max(sizes) <= 4 << 20
    assert count == 2


@pytest.mark.parametrize(
    ("models", "words", "options", "said"),
    [
        (MODELS[:2], VOCABULARIES[:1], {}, "`vocab` has 1, expected 2: one for each model, in their order"),
        (MODELS[:2], VOCABULARIES[1:], {}, "and no weight of checkpoint 1 has a dimension of 3, the next longer is"),
        ([{"e": np.ones((6, 2))}, {"e": np.ones((3, 4))}], [Vocabulary.of("abcdef"), VOCABULARIES[0]], {}, "no weight"),
        ([model("abcdef")] * 2, [Vocabulary.of("abcdef")] * 2, {}, "embed/kernel is [6, 6]: axes 0 and 1 are both"),
        (MODELS[:2], VOCABULARIES[:2], {"vocab_tensors": ["fc"]}, "fc/kernel is [6, 6]: axes 0 and 1 are both long"),
        (MODELS[:2], VOCABULARIES[:2], {"vocab_tensors": ["head/kernel, axis=0"]}, "no axis is long enough"),
        (MODELS[:2], VOCABULARIES[:2], {"how": "union"}, "`vocab` does not apply to union; its parameters"),
    ],
)  # fmt: skip
def test_what_does_not_fit(models: Any, words: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError) as error:
        merged(models, words, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_patterns_that_take_nothing_and_options_without_vocabularies() -> None:
    with pytest.raises(UnknownName, match="'embedding' matches nothing"):
        merged(MODELS[:2], VOCABULARIES[:2], vocab_tensors=["embedding"])
    with pytest.raises(PlanError, match="`tokens` does not apply to linear; its parameters are `weights`, `vocab`"):
        merged(MODELS[:2], [], tokens="last")


def test_slots_of_tensors_that_grow_are_refused() -> None:
    with_slots = model(WORDS[1]) | {"embed/kernel/Momentum": np.zeros((3, WIDTH), "f")}
    with pytest.raises(CkptError, match="`drop-slots`"):
        merged([MODELS[0], with_slots], VOCABULARIES[:2])
    kept = merged([MODELS[0], with_slots], VOCABULARIES[:2], tokens="last")
    assert kept.tensors["embed/kernel/Momentum"].shape == (3, WIDTH)


def test_a_damaged_row_is_noticed_though_others_are_asked_for(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, values in zip(paths, MODELS[:2], strict=True):
        checkpoint.save(values, path)
    data = tmp_path / "a.data-00000-of-00001"
    raw = bytearray(data.read_bytes())
    at = raw.index(MODELS[0]["embed/kernel"][0].tobytes())
    raw[at] ^= 1
    data.write_bytes(raw)
    joined = plan_merge([checkpoint.open(path) for path in paths], "linear", vocab=VOCABULARIES[:2])
    with pytest.raises(CkptError, match="embed/kernel is damaged"):
        joined.tensors["embed/kernel"].read()


def test_slabs_are_whole_whatever_the_blocks_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    array = draw.normal(size=(7, 5, 3))
    monkeypatch.setattr(rows_module, "ELEMENTS", 40)
    parts = list(rows_module.slabs(Tensor.of("w", array), 1))
    assert {part.shape[0] for part in parts} == {2, 1}
    np.testing.assert_array_equal(np.concatenate(parts), array)


@pytest.mark.parametrize(("order", "scattered"), [(range(299, -1, -1), True), (range(300), False)])
def test_a_file_is_read_in_order_before_scattered_rows_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: range, scattered: bool
) -> None:
    read: list[str] = []

    def watched(tensor: Tensor) -> Any:
        read.append(tensor.name)
        return arrays(tensor)

    monkeypatch.setattr("ckpttool.surgery.merging.rows.arrays", watched)
    embed = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    for name in ("a", "b"):
        checkpoint.save({"embed": embed}, tmp_path / f"{name}.safetensors")
    words = [Vocabulary.of([f"w{number}" for number in numbers]) for numbers in (order, range(300))]
    aligned = align([checkpoint.open(tmp_path / f"{name}.safetensors") for name in ("a", "b")], words)
    assert aligned.models[0]["embed"].read().tolist() == embed[[*order]].tolist()
    assert (read == ["embed"]) is scattered
