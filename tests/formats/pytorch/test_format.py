"""PyTorch files: those written by torch.save are read without it, and nothing in a file is ever run."""

import os
import re
import zipfile
import zlib

import ml_dtypes  # noqa: F401 - NumPy knows bfloat16 by it
import numpy as np
import pytest
import torch
from conformance import SHAPES, ReadingTests, numbers, tensors_of
from referees import in_torch
from torch_files import FLOAT, REBUILD, Named, crafted, pickled, rewritten, saved, values, view

from ckpttool import checkpoint
from ckpttool.core.dtypes import DTYPES
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.pytorch import pickle as torch_pickle
from ckpttool.formats.pytorch.format import PyTorch
from ckpttool.formats.pytorch.pickle import interpret

HELD = [dtype for dtype in DTYPES if dtype.name in PyTorch.HOLDS]


class TestTorch(ReadingTests):
    name = "torch"
    suffix = ".pt"

    def save(self, tensors, path, overwrite):
        saved(path, {name: in_torch(tensor.read()) for name, tensor in tensors.items()})

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    @pytest.mark.parametrize("dtype", HELD, ids=str)
    def test_what_torch_writes_is_read(self, path, dtype, shape):
        array = numbers(dtype, shape)
        self.save(tensors_of(before=np.zeros(3)) | {"a/b": Tensor.of("a/b", array)}, path, False)
        read = PyTorch().open(path)["a/b"]
        back = read.read()
        assert (read.dtype, back.dtype, back.shape) == (dtype, dtype.numpy, shape)
        assert back.tobytes() == array.tobytes() == b"".join(read.pieces())


def test_nothing_is_written(tmp_path):
    with pytest.raises(FormatError, match=r"x\.pt: files of torch\.save are read only; `to` safetensors"):
        PyTorch().save({}, tmp_path / "x.pt")


@pytest.fixture
def fixtures(pytestconfig):
    return pytestconfig.rootpath / "fixtures" / "torch"


WEIGHTS = {
    "features.0.weight": np.arange(18).reshape(2, 1, 3, 3).tolist(),
    "features.0.bias": [0, 1],
    "features.1.weight": [0, 1],
    "features.1.bias": [0, 1],
    "features.1.running_mean": [0, 1],
    "features.1.running_var": [0, 1],
    "features.1.num_batches_tracked": 0,
    "features.2.weight": np.arange(12).reshape(3, 4).tolist(),
    "features.2.bias": [0, 1, 2],
}


def test_a_state_dict_keeps_its_names(fixtures):
    opened = checkpoint.open(fixtures / "state_dict.pt")
    assert (opened.format, values(opened), opened.metadata, opened.left_out) == ("torch", WEIGHTS, {}, ())
    assert {checked.problem for checked in PyTorch().verify(fixtures / "state_dict.pt")} == {None}


def test_a_checkpoint_of_lightning(fixtures):
    opened = checkpoint.open(fixtures / "lightning.ckpt")
    score = "callbacks/ModelCheckpoint{'monitor': None}/kth_value"
    assert values(opened) == {**WEIGHTS, score: 1.5}
    assert opened.metadata == {"epoch": "3", "global_step": "120", "pytorch-lightning_version": "2.4.0"}
    assert opened.left_out == ("loops", "optimizer_states", "lr_schedulers", "hyper_parameters")
    checked = [found.name for found in PyTorch().verify(fixtures / "lightning.ckpt")]
    assert checked[: len(opened)] == list(opened)
    rest = checked[len(opened) :]
    assert rest  # the optimizer's
    assert all(name.startswith("data/") for name in rest)


def test_views_of_one_storage(fixtures):
    base = np.arange(24).reshape(4, 6)
    tied = np.arange(6).reshape(3, 2)
    opened = checkpoint.open(fixtures / "views.pt")
    assert values(opened) == {
        "embed.weight": tied.tolist(),
        "head.weight": tied.tolist(),
        "base": base.tolist(),
        "row": base[2].tolist(),
        "column": base[:, 3].tolist(),
        "transposed": base.T.tolist(),
        "window": base[1:3, 2:5].tolist(),
        "expanded": np.repeat(np.arange(3)[:, None], 5, axis=1).tolist(),
        "scalar": 23,
        "empty": [],
    }
    assert opened.metadata == {"head.weight": "embed.weight"}
    for tensor in opened.values():
        assert b"".join(tensor.pieces()) == tensor.read().tobytes()


@pytest.mark.parametrize("name", ["dtypes.pt", "protocol4.pt"])
def test_every_dtype(fixtures, name):
    opened = checkpoint.open(fixtures / name)
    assert {name: str(tensor.dtype) for name, tensor in opened.items()} == {name: name for name in opened}
    assert set(opened) == set(PyTorch.HOLDS)
    for tensor in opened.values():
        expected = np.arange(6).reshape(2, 3).astype(tensor.dtype.numpy)
        assert tensor.read().tolist() == expected.tolist()


def test_a_file_without_checksums_is_read(fixtures):
    assert values(checkpoint.open(fixtures / "no_checksums.pt")) == WEIGHTS
    assert {checked.problem for checked in PyTorch().verify(fixtures / "no_checksums.pt")} == {None}


def test_torch_agrees_on_a_model_with_everything(tmp_path):
    network = torch.nn.Sequential(
        torch.nn.Embedding(5, 4), torch.nn.LSTM(4, 3, bidirectional=True), torch.nn.Conv1d(2, 2, 2).bfloat16()
    )
    saved(tmp_path / "x.bin", {"net": network.state_dict(), "args": {"seed": 1}, "step": 7})
    opened = checkpoint.open(tmp_path / "x.bin")
    state = network.state_dict()
    assert list(opened) == list(state)
    for name, tensor in opened.items():
        assert in_torch(tensor.read()).equal(state[name])


def test_big_endian_files(tmp_path):
    path = saved(tmp_path / "little.pt", {"w": torch.arange(3, dtype=torch.int16), "z": torch.tensor([1 + 2j])})
    arrays = {"0": np.arange(3, dtype=">i2"), "1": np.array([1 + 2j], ">c8")}
    swapped = {f"little/data/{key}": array.tobytes() for key, array in arrays.items()} | {"little/byteorder": b"big"}
    path = rewritten(path, tmp_path / "big.pt", swapped)
    assert values(checkpoint.open(path)) == {"w": [0, 1, 2], "z": [1 + 2j]}
    assert b"".join(checkpoint.open(path)["w"].pieces()) == bytes([0, 0, 1, 0, 2, 0])
    with pytest.raises(CorruptCheckpoint, match="byteorder is b'middle'"):
        checkpoint.open(rewritten(path, tmp_path / "x.pt", {"little/byteorder": b"middle"}))


def test_tensors_alone_and_in_lists(tmp_path):
    assert values(checkpoint.open(saved(tmp_path / "x.pt", torch.arange(2)))) == {"tensor": [0, 1]}
    several = [torch.tensor(1), {"a": (torch.tensor(2), torch.tensor(3))}]
    assert values(checkpoint.open(saved(tmp_path / "y.pt", several))) == {"0": 1, "1/a/0": 2, "1/a/1": 3}


def test_objects_that_hold_no_weights_are_left_out(tmp_path):
    import argparse
    import collections
    import pathlib

    value = {
        "model": collections.OrderedDict(w=torch.nn.Parameter(torch.ones(1))),
        "args": argparse.Namespace(lr=0.1, out=pathlib.Path("x")),
        "best": np.float64(0.5),
        "counts": collections.Counter("aab"),
        "seen": {1, 2},
        "device": torch.device("cpu"),
        "size": torch.Size([1]),
        "dtype": torch.float32,
        "bytes": b"\xff",
        "rng_state": torch.get_rng_state(),
        "numpy": np.random.RandomState(1).get_state(),
    }
    opened = checkpoint.open(saved(tmp_path / "x.pt", value))
    assert (values(opened), opened.left_out) == ({"w": [1]}, tuple(name for name in value if name != "model"))


class Evil:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_call_is_refused_and_never_made(tmp_path, protocol):
    canary = tmp_path / "canary"
    path = saved(tmp_path / "x.pt", {"w": torch.ones(1), "x": Evil(canary)}, pickle_protocol=protocol)
    with pytest.raises(FormatError, match=r"x\.pt: its pickle refers to posix\.system, which is never imported or run"):
        checkpoint.open(path)
    assert not canary.exists()
    torch.load(path, weights_only=False)
    assert canary.exists()  # so the file would have had that effect


def test_a_whole_model_has_the_names_of_its_state_dict(tmp_path):
    model = torch.nn.Linear(2, 1)
    opened = checkpoint.open(saved(tmp_path / "x.pt", model))
    assert values(opened) == {name: tensor.tolist() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(("name", "names"), [("legacy.pt", list(WEIGHTS)), ("script.pt", ["weight", "bias"])])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*TorchScript archive:UserWarning")
def test_older_files_and_programs_are_read(fixtures, name, names):
    loaded = torch.load(fixtures / name, weights_only=False)
    state = loaded if isinstance(loaded, dict) else loaded.state_dict()
    assert values(checkpoint.open(fixtures / name)) == {key: tensor.tolist() for key, tensor in state.items()}
    assert list(state) == names
    assert {checked.problem for checked in PyTorch().verify(fixtures / name)} == {None}


def test_a_tar_without_pickles_is_damaged(tmp_path):
    import io
    import tarfile

    with tarfile.open(tmp_path / "x.pth", "w") as tar:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(CorruptCheckpoint, match="its pickle is damaged"):
        checkpoint.open(tmp_path / "x.pth")


def test_no_changed_byte_of_an_old_file_makes_more_than_one_line(tmp_path):
    state = {"w": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor([True, False])}
    path = saved(tmp_path / "x.pt", state, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            values(checkpoint.open(path))
        except FormatError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "a/w [(]is quantised"),
        (lambda: torch.eye(2).to_sparse(), "a/w [(]is sparse"),
        (lambda: torch.ones(2, dtype=torch.complex64).conj(), r"a/w [(]has a pending conj; resolve_conj\(\)"),
        (lambda: torch.ones(2).to(torch.float8_e4m3fnuz), r"a/w [(]is torch\.float8_e4m3fnuz"),
        (lambda: torch.ones(2, device="meta"), "a/w [(]is a meta tensor"),
    ],
    ids=["quantised", "sparse", "conjugate", "float8", "meta"],
)
@pytest.mark.filterwarnings("ignore:.*quantiz:DeprecationWarning", "ignore:.*[Qq]uantiz", "ignore:TypedStorage")
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_that_are_not_read_are_named(tmp_path, make, words, zipped):
    value = {"a": {"w": make(), "v": torch.ones(1)}}
    opened = checkpoint.open(saved(tmp_path / "x.pt", value, _use_new_zipfile_serialization=zipped))
    assert values(opened) == {"a/v": [1]}
    (left_out,) = opened.left_out
    assert re.match(words, left_out)


def test_what_is_crafted_well_is_read(tmp_path):
    assert values(checkpoint.open(crafted(tmp_path, {"w": view()}))) == {"w": [[0] * 3] * 2}


def test_what_python_2_writes_is_read(tmp_path):
    """An ordered dict is made of lists of two there, and strings are bytes."""
    items = b"](" + b"](U\1w" + pickled(view()) + b"e" + b"e"
    data = b"\x80\2" + pickled(Named("collections.OrderedDict")) + b"(" + items + b"tR}U\x09_metadataNsb."
    assert values(checkpoint.open(crafted(tmp_path, data))) == {"w": [[0] * 3] * 2}


def test_keys_that_are_no_texts(tmp_path):
    keys = {(0, "a"): "(0, a)", (0, "b"): "(0, b)", None: "None", 1.5: "1.5", b"k": "?4", 7: "7"}
    state = {key: torch.tensor(number) for number, key in enumerate(keys)}
    assert list(values(checkpoint.open(saved(tmp_path / "x.pt", state)))) == list(keys.values())


def test_objects_that_hold_tensors_are_looked_into(tmp_path):
    packed = torch.nn.utils.rnn.pack_sequence([torch.ones(3)])
    assert values(checkpoint.open(saved(tmp_path / "x.pt", {"seq": packed}))) == {"seq/0": [1] * 3, "seq/1": [1] * 3}


def test_tensors_of_an_object_are_found_once(tmp_path):
    import argparse

    value = {"x": argparse.Namespace(w=torch.ones(1), n=3, l=[torch.zeros(2)])}
    opened = checkpoint.open(saved(tmp_path / "x.pt", value))
    assert (values(opened), opened.metadata) == ({"x/w": [1], "x/l/0": [0, 0]}, {})
    assert opened.left_out == ("x/n (is not a tensor, but 3)",)


def test_a_reference_to_a_member_of_a_class_is_inert(tmp_path):
    getattr_of = Named("builtins.getattr"), Named("torch.nn.Module"), "forward"
    opened = checkpoint.open(crafted(tmp_path, {"w": view(), "method": getattr_of}))
    assert (list(opened), opened.left_out) == (["w"], ("method",))


def test_an_object_that_holds_itself_is_looked_at_once(tmp_path):
    data = b"\x80\2}U\1w" + pickled(view()) + b"sU\1xcsome\nClass\n)\x81q\1}U\4selfh\1sbs."
    opened = checkpoint.open(crafted(tmp_path, data))
    assert (list(opened), opened.left_out) == (["w"], ("x",))


LONG = 1 << 62
BROKEN = {
    "outside": ({"w": view(offset=1)}, "ends at byte 28 of storage 0 of 24"),
    "strides-outside": ({"w": view(strides=(4, 1))}, "ends at byte 28"),
    "huge-stride": ({"w": view(strides=(LONG, 1))}, "ends at byte"),
    "negative-offset": ({"w": view(offset=-1)}, "impossible shape"),
    "negative-size": ({"w": view(shape=(-2, 3))}, "impossible shape"),
    "negative-stride": ({"w": view(strides=(-3, 1))}, "impossible shape"),
    "overflow": ({"w": view(shape=(LONG, LONG), strides=(0, 0))}, "impossible shape"),
    "empty-and-huge": ({"w": view(shape=(0, LONG // 2), strides=(1, 1))}, "impossible shape"),
    "true-as-size": ({"w": view(shape=(True, 3))}, "impossible shape"),
    "text-as-size": ({"w": view(shape=("2", 3))}, "impossible shape"),
    "rank": ({"w": view(shape=(1,) * 65, strides=(1,) * 65)}, "an invalid shape or strides"),
    "fewer-strides": ({"w": view(strides=(1,))}, "an invalid shape or strides"),
    "no-storage": ({"w": view(storage=7)}, "a tensor has no storage"),
    "untyped-without-dtype": (
        {"w": view(("storage", Named("torch.storage.UntypedStorage"), "0", "cpu", 24))},
        "no storage",
    ),
    "too-few-arguments": ({"w": (REBUILD, 1)}, "its pickle is damaged"),
    "storage-not-there": ({"w": view(("storage", FLOAT, "1", "cpu", 6))}, "storage 1, which is missing"),
    "storage-elsewhere": ({"w": view(("storage", FLOAT, "../0", "cpu", 6))}, "which is missing"),
    "storage-larger": ({"w": view(("storage", FLOAT, "0", "cpu", 1 << 40))}, "has 24 bytes, but 4398"),
    "storage-smaller": (
        {"w": view(("storage", FLOAT, "0", "cpu", 1), shape=(), strides=())},
        "has 24 bytes, but .* according to its pickle",
    ),
    "storage-of-two": (
        {"v": view(), "w": view(("storage", Named("torch.IntStorage"), "0", "cpu", 6))},
        "declared with two dtypes",
    ),
    "storage-of-no-class": ({"w": view(("storage", "FloatStorage", "0", "cpu", 6))}, "not that of a storage"),
    "storage-cut": ({"w": view(("storage", FLOAT, "0"))}, "not that of a storage"),
    "key-is-a-number": ({"w": view(("storage", FLOAT, 0, "cpu", 6))}, "has no key"),
    "repeats": ({"w": view(shape=(1 << 40, 1), strides=(0, 0))}, "w repeats 24 bytes to 4398046511104"),
    "subclass-of-itself": (
        {"w": (Named("torch._tensor._rebuild_from_type_v2"), Named("torch._tensor._rebuild_from_type_v2"), 0, (), 0)},
        "made by something that makes none",
    ),
    "one-name-twice": ({"a/b": view(), "a": {"b": view()}}, "two tensors are named a/b"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_tensors_that_cannot_be(tmp_path, case):
    said, words = BROKEN[case]
    with pytest.raises(FormatError, match=words) as error:
        checkpoint.open(crafted(tmp_path, said))
    assert "x.pt" in str(error.value)


def test_many_repeated_tensors_are_refused_though_each_is_small(tmp_path):
    names = {str(number): view(shape=(1 << 23, 2), strides=(0, 0)) for number in range(65)}
    with pytest.raises(FormatError, match=r"its tensors repeat .* bytes to 43"):
        checkpoint.open(crafted(tmp_path, names))


LISTS = b"]q\0" + b"".join(b"](" + b"h%c" % (n - 1) * 10 + b"eq%c" % n for n in range(1, 60))
PICKLES = {
    "empty": (b"", "pickle exhausted"),
    "no-stop": (b"\x80\2}", "pickle exhausted"),
    "nothing": (b"\x80\2.", "unpack"),
    "two-values": (b"\x80\2}}.", "unpack"),
    "unknown-opcode": (b"\x80\2\xff.", "opcode b'\\\\xff' unknown"),
    "cut-text": (b"\x80\2X\xff\0\0\0ab.", "expected 255 bytes"),
    "huge-text": (b"\x80\2\x8d" + b"\xff" * 8 + b".", r"sys\.maxsize"),
    "old-opcode": (b"\x80\2(ios\nsystem\n.", "opcode INST, which PyTorch does not write"),
    "extension": (b"\x80\2\x82\1.", "opcode EXT1"),
    "memo": (b"\x80\2h\7.", "is missing"),
    "reduce-of-text": (b"\x80\2" + pickled("os.system") + b")R.", "something is called that is not a name"),
    "reduce-with-list": (b"\x80\2ccollections\nOrderedDict\n]R.", "something else than a tuple"),
    "pop-of-nothing": (b"\x80\2R.", "is missing"),
    "mark-as-value": (b"\x80\2(\x85.", "there is a mark in place of a value"),
    "no-mark": (b"\x80\2t.", "is missing"),
    "item-of-a-list": (b"\x80\2]NNs.", "expected Pairs, found list"),
    "value-of-a-dict": (b"\x80\2}Na.", "expected list, found Pairs"),
    "odd-items": (b"\x80\2}(Nu.", "damaged"),
    "state-of-a-number": (b"\x80\2K\1}b.", "expected Object, found int"),
    "name-of-numbers": (b"\x80\4K\1K\1\x93.", "a name is not text"),
    "deep": (b"\x80\2" + b"]" * 200 + b"a" * 199 + b".", "nested endlessly"),
    "deeper": (b"\x80\2" + b"]" * 300_000 + b"a" * 299_999 + b".", "nested endlessly"),
    "in-itself": (b"\x80\2]q\0h\0a.", "nested endlessly"),
    "laughs": (b"\x80\2(" + LISTS + b"t.", "nested endlessly"),
}


@pytest.mark.parametrize("case", PICKLES)
def test_damaged_pickles(tmp_path, case):
    data, words = PICKLES[case]
    with pytest.raises(CorruptCheckpoint, match=words):
        checkpoint.open(crafted(tmp_path, data))


def test_long_names_that_grow_are_refused(tmp_path):
    dicts = b"}" + pickled("k" * 1_000_000) + b"q\1" + b"}h\1" * 30 + b"N" + b"s" * 31
    with pytest.raises(CorruptCheckpoint, match="nested endlessly"):
        checkpoint.open(crafted(tmp_path, b"\x80\2" + dicts + b"."))


def test_endless_opcodes_are_refused(monkeypatch):
    monkeypatch.setattr(torch_pickle, "OPCODE_LIMIT", 100)
    with pytest.raises(ValueError, match="more than 100 opcodes"):
        interpret(b"\x80\2" + b"]" * 101 + b".")


@pytest.mark.parametrize(
    "name", ["builtins.eval", "builtins.getattr", "torch.load", "torch.hub.load", "os.system", "."]
)
def test_other_names_are_refused(tmp_path, name):
    with pytest.raises(FormatError, match=f"refers to {re.escape(name)}, which is never"):
        checkpoint.open(crafted(tmp_path, {"w": view(), "x": (Named(name),)}))


@pytest.mark.parametrize("name", ["../x", "/x", "x/../../y", "x\\y", "x/data/1:"])
def test_members_that_lead_away_are_refused(tmp_path, name):
    with pytest.raises(FormatError, match="name outside of the archive"):
        checkpoint.open(crafted(tmp_path, {"w": view()}, **{name: b""}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path):
    path = crafted(tmp_path, {"w": view()})
    with zipfile.ZipFile(path, "a") as out:
        out.writestr("x/data/0", b"\1" * 24)
    with pytest.raises(FormatError, match="two members are named x/data/0"):
        checkpoint.open(path)


def test_two_pickles_are_no_checkpoint(tmp_path):
    with pytest.raises(FormatError, match=r"has no data\.pkl, or more than one"):
        PyTorch().open(crafted(tmp_path, {"w": view()}, **{"y/data.pkl": b""}))


def test_packed_members_are_refused(tmp_path):
    path = rewritten(crafted(tmp_path, {"w": view()}), tmp_path / "y.pt", {}, zipfile.ZIP_DEFLATED)
    with pytest.raises(FormatError, match=r"x/data\.pkl is compressed"):
        checkpoint.open(path)


def test_a_bomb_is_refused(tmp_path):
    path = crafted(tmp_path, {"w": view()})
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\1\2", raw.index(b"PK\1\2") + 1)
    raw[place + 24 : place + 28] = (0xF0000000).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(FormatError, match="x/data/0 has a header that differs from the zip file's directory"):
        checkpoint.open(path)


def test_a_member_that_is_not_where_the_directory_says(tmp_path):
    path = crafted(tmp_path, {"w": view()})
    path.write_bytes(path.read_bytes().replace(b"x/data/0", b"x/data/1", 1))
    with pytest.raises(CorruptCheckpoint, match="x/data/0 is not at the place in the zip file's directory"):
        checkpoint.open(path)["w"].read()


def test_no_changed_byte_changes_a_number(tmp_path):
    path = saved(tmp_path / "x.pt", {"w": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor([True, False])})
    whole, right = path.read_bytes(), values(checkpoint.open(path))
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            assert values(checkpoint.open(path)) == right, place
        except FormatError as error:
            assert "\n" not in str(error)


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path):
    path = saved(tmp_path / "x.pt", {"w": torch.zeros(3), "v": torch.zeros(4)[1:]})
    opened = checkpoint.open(path)
    os.utime(path, ns=(1, 1))
    for name in ("w", "v"):
        with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
            opened[name].read()


def test_a_bool_that_is_none_is_refused(tmp_path):
    said = {"w": view(("storage", Named("torch.BoolStorage"), "0", "cpu", 24), shape=(24,), strides=(1,))}
    path = crafted(tmp_path, said, **{"x/data/0": bytes([2] * 24)})
    with pytest.raises(CorruptCheckpoint, match="neither 0 nor 1"):
        checkpoint.open(path)["w"].read()
    assert [bool(checked.problem) for checked in PyTorch().verify(path)] == [True]


def test_it_is_converted_to_safetensors_with_its_texts(fixtures, tmp_path):
    import safetensors

    checkpoint.save(checkpoint.open(fixtures / "views.pt"), tmp_path / "x.safetensors")
    with safetensors.safe_open(tmp_path / "x.safetensors", "pt") as read:
        assert read.get_tensor("transposed").equal(torch.load(fixtures / "views.pt")["transposed"])


def test_the_checksum_of_shared_storage_is_taken_once(fixtures, monkeypatch):
    taken = []
    monkeypatch.setattr(
        zlib, "crc32", lambda piece, running=0, real=zlib.crc32: taken.append(1) or real(piece, running)
    )
    opened = checkpoint.open(fixtures / "views.pt")
    taken.clear()
    for name in ("row", "column", "window"):
        opened[name].read()
    assert len(taken) == 1
