"""The records that calls in a pickle make: of storages, tensors and objects, and which arguments are refused."""

from typing import Any

import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.formats.pytorch import makers
from ckpttool.formats.pytorch.makers import ForbiddenName, make, require_harmless, storage, tensor_of
from ckpttool.formats.pytorch.numpy_arrays import NumpyArray
from ckpttool.formats.pytorch.records import Global, Object, Pairs, Storage, Unread, View

FLOAT = Global("torch.FloatStorage")
HELD = Storage("0", BY_NAME["float32"], 6)
TENSOR = HELD, 0, (2, 3), (3, 1)
V2 = "torch._utils._rebuild_tensor_v2"


def test_a_storage_has_the_dtype_of_its_class_or_that_of_its_tensor():
    typed, raw = (
        storage(("storage", FLOAT, "a", "cpu", 6)),
        storage(("storage", Global("torch.storage.UntypedStorage"), "a", "cpu", 6)),
    )
    assert isinstance(typed, Storage)
    assert isinstance(raw, Storage)
    assert (typed.key, typed.dtype, typed.nbytes) == ("a", BY_NAME["float32"], 24)
    assert (raw.dtype, raw.nbytes) == (None, 6)
    quantised = storage(("storage", Global("torch.QInt32Storage"), "a", "cpu", 6))
    assert (quantised.why, quantised.itemsize) == ("is of a torch.QInt32Storage", 4)


@pytest.mark.parametrize(
    ("description", "says"),
    [
        (["storage", FLOAT, "a", "cpu", 6], "not that of a storage"),
        (("storage", FLOAT, "a", "cpu"), "not that of a storage"),
        (("storage", FLOAT, "a", "cpu", 6, None), "not that of a storage"),
        (("module", FLOAT, "a", "cpu", 6), "not that of a storage"),
        (("storage", "torch.FloatStorage", "a", "cpu", 6), "not that of a storage"),
        (("storage", FLOAT, 7, "cpu", 6), "has no key, or no size"),
        (("storage", FLOAT, "a", "cpu", -1), "has no key, or no size"),
        (("storage", FLOAT, "a", "cpu", True), "has no key, or no size"),
        (("storage", FLOAT, "a", "cpu", 1 << 63), "has no key, or no size"),
    ],
)
def test_an_id_that_is_not_of_a_storage_is_refused(description, says):
    with pytest.raises(ValueError, match=says):
        storage(description)


def test_a_size_is_a_number_of_at_least_0_and_below_the_limit():
    assert [makers.is_size(each) for each in (0, 1, (1 << 63) - 1, -1, 1 << 63, True, 1.0, "1")] == [
        *(True, True, True),
        *[False] * 5,
    ]


def test_a_tensor_may_end_where_its_storage_ends_and_an_empty_one_lies_anywhere():
    assert tensor_of(HELD, 3, (3,), (1,)).offset == 3
    assert tensor_of(HELD, 100, (0, 5), (5, 1)).shape == (0, 5)
    assert tensor_of(HELD, 100, (0, 5), (9, 1)).span == 0
    assert tensor_of(HELD, 0, (1,) * 64, (1,) * 64).whole
    with pytest.raises(ValueError, match="ends at byte 28 of storage 0 of 24"):
        tensor_of(HELD, 4, (3,), (1,))
    with pytest.raises(ValueError, match="impossible shape"):
        tensor_of(HELD, 0, (1 << 60, 2), (0, 0))
    assert tensor_of(HELD, 0, (1 << 59, 2), (0, 0)).span == 1


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({0: "0"}, "no storage"),
        ({0: Storage("0", None, 24)}, "no storage"),
        ({2: [2, 3]}, "invalid shape or strides"),
        ({3: [3, 1]}, "invalid shape or strides"),
        ({3: (3,)}, "invalid shape or strides"),
        ({1: -1}, "impossible shape"),
        ({2: (2, -3)}, "impossible shape"),
        ({3: (-3, 1)}, "impossible shape"),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(changed, says):
    with pytest.raises(ValueError, match=says):
        make(V2, tuple(changed.get(place, each) for place, each in enumerate(TENSOR)))


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (Pairs([("conj", True)]), "has a pending conj; resolve_conj() before saving applies it"),
        (Pairs([("other", True), ("neg", True)]), "has a pending neg; resolve_neg() before saving applies it"),
        (Pairs([("conj", False), ("neg", 1), ("other", True)]), None),
        ([("conj", True)], None),
    ],
)
def test_what_is_pending_for_a_tensor_is_not_forgotten(metadata, why):
    made = make(V2, (*TENSOR, False, Pairs(), metadata))
    assert (made.why if isinstance(made, Unread) else None) == why
    assert isinstance(make(V2, (*TENSOR, False, Pairs())), View)


def test_a_tensor_of_raw_bytes_has_a_dtype_of_its_own():
    name, raw = "torch._utils._rebuild_tensor_v3", Storage("0", None, 24)
    made = make(name, (raw, 0, (2,), (1,), False, Pairs(), Global("torch.uint16")))
    assert (made.dtype, made.shape) == (BY_NAME["uint16"], (2,))
    unread = make(name, (raw, 0, (2,), (1,), False, Pairs(), Global("torch.bits8")))
    assert unread.why == "is torch.bits8"
    with pytest.raises(ValueError, match="a tensor has no dtype"):
        make(name, (raw, 0, (2,), (1,), False, Pairs(), "torch.uint16"))


def test_a_tensor_of_a_storage_that_is_not_read_is_not_read():
    unread = Unread("is of a torch.QInt8Storage", 1)
    assert make(V2, (unread, *TENSOR[1:])) is unread
    assert make("torch._utils._rebuild_sparse_tensor", "anything").why == "is sparse"


def test_a_subclass_is_made_by_a_function_for_tensors_alone():
    name = "torch._tensor._rebuild_from_type_v2"
    assert isinstance(make(name, (Global(V2), Global("own.Tensor"), TENSOR, None)), View)
    for function in (V2, Global(name), Global("collections.OrderedDict")):
        with pytest.raises(ValueError, match="made by something that makes none"):
            make(name, (function, Global("own.Tensor"), TENSOR, None))


@pytest.mark.parametrize(
    ("arguments", "pairs"),
    [
        ((), []),
        (([["a", 1], ("b", 2)],), [("a", 1), ("b", 2)]),
        (([["a", 1], ["b"], "cd", ("e", 1, 2)],), [("a", 1)]),
        ((("ab", "cd"),), []),
    ],
)
def test_an_ordered_dict_is_made_of_lists_of_two(arguments, pairs):
    assert make("collections.OrderedDict", arguments) == pairs


def test_objects_have_the_name_of_their_class():
    assert make("copyreg._reconstructor", (Global("own.Class"), 1, 2)).name == "own.Class"
    assert make("copyreg._reconstructor", (Global("own.Class"), 1, 2)).arguments == (1, 2)
    assert make("copyreg.__newobj__", (7,)).name == "builtins.object"
    assert make("own.function", (1,)).arguments == (1,)
    with pytest.raises(ValueError, match=r"own\.function is called with something else than a tuple"):
        make("own.function", [1])


def test_a_member_of_a_class_is_named_and_other_uses_of_getattr_are_forbidden():
    assert make("builtins.getattr", (Global("own.Kind"), "FIRST")).name == "own.Kind.FIRST"
    assert make("builtins.getattr", (Object("own.Kind"), "FIRST")).name == "own.Kind.FIRST"
    for arguments in ((Global("own.Kind"), 7), ("own.Kind", "FIRST"), (Global("own.Kind"),)):
        with pytest.raises(ForbiddenName, match=r"builtins\.getattr"):
            make("builtins.getattr", arguments)


def test_what_was_copied_from_another_device_is_its_tensor_or_its_array():
    name, array = "torch._utils._rebuild_device_tensor_from_numpy", NumpyArray()
    assert make(name, (array, 1)) is array
    assert make(name, (view := tensor_of(*TENSOR),)) is view
    for arguments in ((), (7,)):
        assert make(name, arguments).why == "is of an unknown device"


@pytest.mark.parametrize(("arguments", "value"), [((), []), (([1],), [1])])
def test_sets_and_sizes_are_their_items(arguments: tuple[Any, ...], value: Any):
    assert make("builtins.set", arguments) == value


def test_bytes_of_protocol_2_are_empty_unless_they_are_encoded():
    assert make("builtins.bytes", ()) == b""
    assert make("builtins.bytes", (7,)) is None
    assert make("_codecs.encode", ("a\xff", "latin1")) == b"a\xff"
    assert make("_codecs.encode", ("a", "utf-8")) is None
    assert make("_codecs.encode", (7, "latin1")) is None


@pytest.mark.parametrize(
    "name", ["os.system", "os", "posix.system", "builtins.eval", "torch.load", "torch.hub.load", "", ".", "x", "a b.c"]
)
def test_names_that_act_or_are_none_are_forbidden(name):
    with pytest.raises(ForbiddenName):
        require_harmless(name)


@pytest.mark.parametrize("name", ["own.Class", "osmosis.Net", "torch.nn.Linear", "builtins.evaluate", "own.<lambda>"])
def test_names_of_classes_are_allowed(name):
    require_harmless(name)


@pytest.mark.parametrize("name", ["m" * 100_000, "m" * 100_000 + ".n!", "." * 100_000, "<.>" * 50_000 + "m"])
def test_no_name_is_too_long_to_be_judged(name):
    with pytest.raises(ForbiddenName):
        require_harmless(name)


@pytest.mark.parametrize("name", ["m.n", "..m.n", "m.<locals>.f", "_m1._n", "m..n", "m.n."])
def test_names_that_are_dotted_are_harmless(name):
    require_harmless(name)
