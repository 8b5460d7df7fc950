"""The opcodes of a pickle on a small stack: what they make, and where their operands are missing."""

import pickle

import pytest

from ckpttool.formats.pytorch import pickle as torch_pickle
from ckpttool.formats.pytorch.numpy_arrays import NumpyArray
from ckpttool.formats.pytorch.pickle import interpret
from ckpttool.formats.pytorch.records import Global, Object, Pairs


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [None, True, False, 7, -70_000, 1 << 80, 1.5, "text", "t" * 300, [1, [2]], (), (1,), (1, 2), (1, 2, 3), (1,) * 4],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_plain_values_are_what_python_makes_of_them(value, protocol):
    assert interpret(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_dicts_are_pairs_and_sets_are_lists_or_tuples(protocol):
    assert interpret(pickle.dumps({"a": 1, "b": {2: 3}}, protocol)) == [("a", 1), ("b", [(2, 3)])]
    assert interpret(pickle.dumps({7}, protocol)) == [7]
    assert [*interpret(pickle.dumps(frozenset({7}), protocol))] == [7]


def test_what_was_kept_is_the_same_object():
    inner = ["x"]
    one, other = interpret(pickle.dumps([inner, inner], 4))
    assert one is other


def test_names_of_python_2_are_those_of_today():
    assert interpret(b"\x80\2c__builtin__\nset\n.").name == "builtins.set"
    assert interpret(b"\x80\2cown\nClass\n.").name == "own.Class"
    made = interpret(b"\x80\4\x8c\3own\x8c\5Class\x93.")
    assert (type(made), made.name) == (Global, "own.Class")


def test_an_object_is_inert_and_has_its_arguments_its_state_its_pairs_and_its_items():
    made = interpret(b"\x80\2cown\nClass\nK\1\x85\x81(K\2K\3eK\4a(K\5K\6uK\7K\x08s}K\x09K\x0asb.")
    assert (type(made), made.name, made.arguments) == (Object, "own.Class", (1,))
    assert (made.items, made.pairs, made.state) == ([2, 3, 4], [(5, 6), (7, 8)], [(9, 10)])


def test_an_object_may_be_made_by_an_object_and_with_keyword_arguments():
    assert interpret(b"\x80\2cown\nmake\n)RK\1\x85R.").name == "own.make"
    made = interpret(b"\x80\4cown\nClass\nK\1\x85}\x92.")
    assert (made.name, made.arguments) == ("own.Class", (1,))


def test_the_state_of_a_dict_is_ignored_and_that_of_an_array_is_built():
    assert interpret(b"\x80\2}K\1K\2s}b.") == [(1, 2)]
    assert interpret(b"\x80\2]K\1a}b.") == [1]
    array = b"cnumpy.core.multiarray\n_reconstruct\n)R(K\1K\2\x85cnumpy\ndtype\nX\2\0\0\0i1\x85R\x89C\2\3\4tb"
    made = interpret(b"\x80\3" + array + b".")
    assert isinstance(made, NumpyArray)
    assert made.read().tolist() == [3, 4]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x80\2K\1(a.", "a mark in place of a value"),
        (b"\x80\2}(K\1K\2s.", "a mark in place of a value"),
        (b"\x80\2](K\1a.", "a mark in place of a value"),
        (b"\x80\2](q\0.", "a mark in place of a value"),
        (b"\x80\2(K\1.", "^$"),
        (b"\x80\2Na.", "is missing"),
        (b"\x80\2e.", "is missing"),
        (b"\x80\2q\0.", "is missing"),
        (b"\x80\2j\1\0\0\0.", "is missing"),
        (b"\x80\2(NNNu.", "is missing"),
        (b"\x80\2}(NNNu.", "zip"),
        (b"\x80\2Nb.", "is missing"),
        (b"\x80\2cown\nClass\nN\x92.", "is missing"),
        (b"\x80\4K\1\x8c\5Class\x93.", "a name is not text"),
        (b"\x80\4\x8c\3ownK\1\x93.", "a name is not text"),
        (b"\x80\0020.", "opcode POP, which PyTorch does not write"),
        (b"\x80\2.", "unpack"),
    ],
    ids=range(17),
)
def test_operands_that_are_missing_are_damage(data, says):
    if says == "^$":  # a mark that nothing takes changes no value
        assert interpret(data) == 1
        return
    with pytest.raises(ValueError, match=says):
        interpret(data)


def test_as_many_opcodes_as_the_limit_are_run(monkeypatch):
    monkeypatch.setattr(torch_pickle, "OPCODE_LIMIT", 3)
    assert interpret(b"\x80\2N.") is None
    with pytest.raises(ValueError, match="more than 3 opcodes"):
        interpret(b"\x80\2}Nb.")


def test_an_id_is_what_the_caller_makes_of_it():
    assert interpret(b"\x80\2K\7Q.", lambda found: Pairs([(found, "made")])) == [(7, "made")]
