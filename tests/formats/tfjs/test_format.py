"""TensorFlow.js models: read according to the documented layout; nothing outside of the model.json's folder is."""

import json
import os
import random

import numpy as np
import pytest
from conformance import FormatTests, ReadBackTests, before_call

from ckpttool import checkpoint
from ckpttool.core.dtypes import DTYPES
from ckpttool.core.errors import CkptError, CorruptCheckpoint, ExistingOutput, FormatError, MissingFile, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Writing
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.tfjs import format as module
from ckpttool.formats.tfjs import writing
from ckpttool.formats.tfjs.format import Tfjs


def saved(path, weights, raw, files=("group1-shard1of1.bin",), **texts):
    size = -(-len(raw) // len(files))
    for number, file in enumerate(files):
        (path.parent / file).write_bytes(raw[number * size : (number + 1) * size])
    path.write_text(json.dumps({"weightsManifest": [{"paths": list(files), "weights": weights}], **texts}))
    return path


def weight(name, shape, dtype="float32", **more):
    return {"name": name, "shape": shape, "dtype": dtype, **more}


def quantised(dtype, scale, least):
    return {"quantization": {"dtype": dtype, "scale": scale, "min": least}}


class TestTfjs(FormatTests, ReadBackTests):
    name = "tfjs"
    suffix = ".json"
    refused = tuple(dtype.name for dtype in DTYPES if dtype.name not in Tfjs.HOLDS)
    checksums = False
    fraction, whole = np.float32, np.int32
    writer = "ckpttool.formats.tfjs.writing._grouped"
    missed = "b reads back as nothing, expected float32"


VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_folder_and_its_model_json_are_the_same(tmp_path):
    path = saved(tmp_path / "model.json", [weight("dense/kernel", [2, 3])], VALUES.tobytes(), format="layers-model")
    for place in (path, tmp_path):
        opened = checkpoint.open(place)
        assert (opened.format, opened.metadata) == ("tfjs", {"format": "layers-model"})
        assert np.array_equal(opened["dense/kernel"].read(), VALUES)
        assert b"".join(opened["dense/kernel"].pieces()) == VALUES.tobytes()
    assert Tfjs().framework(Tfjs().open(path)) == "keras"


def test_a_weight_may_lie_in_several_files(tmp_path):
    files = [f"group1-shard{n}of5.bin" for n in range(5)]
    many = np.arange(1000, dtype=np.int32)
    weights = [weight("a", [2, 3]), weight("b", [1000], "int32")]
    opened = checkpoint.open(saved(tmp_path / "model.json", weights, VALUES.tobytes() + many.tobytes(), files))
    assert np.array_equal(opened["a"].read(), VALUES)
    assert np.array_equal(opened["b"].read(), many)


def test_quantised_weights_are_what_a_browser_makes_of_them(tmp_path):
    codes = np.array([0, 1, 255], np.uint8)
    wide, half = np.array([0, 40000], np.uint16), np.array([0.1, -2], np.float16)
    weights = [
        weight("small", [3], **quantised("uint8", 0.1, -3.3)),
        weight("whole", [3], "int32", **quantised("uint8", 0.5, -1)),
        weight("wide", [2], **quantised("uint16", 1e-3, 2)),
        weight("half", [2], quantization={"dtype": "float16"}),
    ]
    raw = codes.tobytes() * 2 + wide.tobytes() + half.tobytes()
    opened = checkpoint.open(saved(tmp_path / "model.json", weights, raw))
    assert opened["small"].read().tolist() == [float(np.float32(n * 0.1 - 3.3)) for n in (0, 1, 255)]
    assert opened["whole"].read().tolist() == [-1, 0, 127]  # JavaScript rounds halves up
    assert opened["wide"].read().tolist() == [2.0, 42.0]
    assert opened["half"].read().tolist() == half.astype(np.float32).tolist()
    assert {opened[name].read().dtype.name for name in ("small", "wide", "half")} == {"float32"}
    assert opened["whole"].read().dtype == np.int32


def test_every_cut_is_found(tmp_path):
    path = saved(tmp_path / "model.json", [weight("a", [2, 3]), weight("t", [2], "string")], VALUES.tobytes()
                 + b"\1\0\0\0x\2\0\0\0yz")  # fmt: skip
    assert checkpoint.open(path)["t"].read().tolist() == [b"x", b"yz"]
    for file in (path, tmp_path / "group1-shard1of1.bin"):
        whole = file.read_bytes()
        for size in range(len(whole)):
            file.write_bytes(whole[:size])
            with pytest.raises(CkptError):
                checkpoint.open(path)
        file.write_bytes(whole)
    whole = (tmp_path / "group1-shard1of1.bin").read_bytes()
    (tmp_path / "group1-shard1of1.bin").write_bytes(whole + b"\0")
    with pytest.raises(CorruptCheckpoint, match="1 byte of its files belong to no weight"):
        checkpoint.open(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    path = saved(tmp_path / "model.json", [weight("a", [2, 3])], VALUES.tobytes())
    (tmp_path / "group1-shard1of1.bin").unlink()
    with pytest.raises(MissingFile, match=r"group1-shard1of1\.bin is missing"):
        checkpoint.open(path)


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/passwd", "a\\b", "in/folder.bin", ".."])
def test_nothing_outside_of_the_folder_is_read(tmp_path, name):
    path = saved(tmp_path / "model.json", [weight("a", [2, 3])], VALUES.tobytes())
    path.write_text(path.read_text().replace("group1-shard1of1.bin", name.replace("\\", "\\\\")))
    with pytest.raises(FormatError, match="outside of its folder"):
        checkpoint.open(path)


@pytest.mark.parametrize(
    "wrong",
    [
        weight("a", [2**63]), weight("a", [2**62, 4]), weight("a", [-1]), weight("a", "six"), weight("a", [1] * 99),
        weight("a", [6], "float64"), weight("a", [2**61], "string"), weight(None, [6]), {}, 7,
        weight("a", [6], quantization=7), weight("a", [24], **quantised("uint8", None, 0)),
        weight("a", [24], **quantised("uint8", 10**400, 0)), weight("a", [24], "bool", **quantised("uint8", 1, 0)),
        weight("a", [True]), weight("a", [2.0]), weight("a", [0, 2**62, 2**62]),
    ],
    ids=lambda each: str(each)[:60],
)  # fmt: skip
def test_what_is_wrong_in_a_description_is_said(tmp_path, wrong):
    with pytest.raises(FormatError, match=r"model\.json"):
        checkpoint.open(saved(tmp_path / "model.json", [wrong], VALUES.tobytes()))


def test_two_weights_of_one_name_are_refused(tmp_path):
    with pytest.raises(CorruptCheckpoint, match="two weights are named a"):
        checkpoint.open(saved(tmp_path / "model.json", [weight("a", [3]), weight("a", [3])], VALUES.tobytes()))


def test_more_files_or_texts_than_any_model_has_are_refused(tmp_path):
    path = saved(tmp_path / "model.json", [weight("a", [1001, 1000], "string")], bytes(8))
    with pytest.raises(FormatError, match="its weights contain 1001000 texts, at most 1000000 are read"):
        checkpoint.open(path)
    groups = [{"paths": [f"{number}.bin"], "weights": []} for number in range(10_001)]
    path.write_text(json.dumps({"weightsManifest": groups}))
    with pytest.raises(FormatError, match="lists over 10000 files of weights"):
        checkpoint.open(path)
    path.write_text(json.dumps({"weightsManifest": groups[:1] * 2}))
    with pytest.raises(CorruptCheckpoint, match="its groups of weights list a file twice"):
        checkpoint.open(path)


def test_json_that_is_nested_without_end_is_refused(tmp_path):
    path = tmp_path / "model.json"
    path.write_text('{"weightsManifest":' + "[" * 100_000)
    with pytest.raises(CorruptCheckpoint, match="nested too deeply"):
        checkpoint.open(path)


def test_flipped_bits_lead_to_our_errors_or_to_numbers(tmp_path):
    path, chance = saved(tmp_path / "model.json", [weight("a", [2, 3])], VALUES.tobytes()), random.Random(1)
    whole = path.read_bytes()
    for _ in range(300):
        at = chance.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :])
        try:
            for tensor in checkpoint.open(path).values():
                tensor.read()
        except CkptError:
            continue


def test_a_file_that_changed_since_is_found(tmp_path):
    opened = checkpoint.open(saved(tmp_path / "model.json", [weight("a", [2, 3])], VALUES.tobytes()))
    (tmp_path / "group1-shard1of1.bin").write_bytes(bytes(48))
    with pytest.raises(CorruptCheckpoint, match="changed"):
        opened["a"].read()


def layers_model(path, names=("a", "b"), **texts):
    """Write a model.json with a topology, which is only copied."""
    weights = [weight(name, [2, 3]) for name in names]
    topology = {"modelTopology": {"model_config": {"class_name": "Sequential"}}, "format": "layers-model"}
    return saved(path, weights, VALUES.tobytes() * len(names), **topology, **texts)


def test_a_model_that_is_edited_keeps_its_network(tmp_path):
    like = layers_model(tmp_path / "model.json", userDefinedMetadata={"by": "me"}, signature={"inputs": {}})
    (tmp_path / "out").mkdir()
    source = checkpoint.open(like)
    checkpoint.save(
        source.holding({name: Tensor.of(name, VALUES * 2) for name in source}), tmp_path / "out" / "model.json"
    )
    document, old = (json.loads((folder / "model.json").read_text()) for folder in (tmp_path / "out", tmp_path))
    assert {**document, "weightsManifest": 0} == {**old, "weightsManifest": 0}
    assert checkpoint.open(tmp_path / "out")["b"].read().tolist() == (VALUES * 2).tolist()


def test_weights_that_are_not_the_networks_are_refused(tmp_path):
    like, out = layers_model(tmp_path / "model.json"), tmp_path / "x.json"
    source = checkpoint.open(like)
    for tensors, says in (
        (source.rename({"a": "c"}), "has no weight c, which was a; its network stays as it is"),
        (source.drop("a"), "nothing for a of"),
        (source.cast("int32"), r"a is int32 \[2, 3\], expected float32 \[2, 3\] as in"),
    ):
        with pytest.raises(PlanError, match=says):
            checkpoint.save(tensors, out)
        assert not out.exists()
    with pytest.raises(PlanError, match="has no network for"):
        checkpoint.save({"a": VALUES}, tmp_path / "y.json", how=Writing(like=out.with_name("none.npz")))


def test_weights_alone_are_a_list_without_a_network(tmp_path):
    checkpoint.save({"a": VALUES, "t": np.array([b"x", b""], object)}, tmp_path / "model.json")
    document = json.loads((tmp_path / "model.json").read_text())
    assert document.keys() == {"weightsManifest"}
    assert [group["paths"] for group in document["weightsManifest"]] == [
        ["group1-shard1of1.bin"], ["group2-shard1of1.bin"],
    ]  # fmt: skip
    assert (tmp_path / "group2-shard1of1.bin").read_bytes() == b"\1\0\0\0x\0\0\0\0"


def test_two_models_in_a_folder_keep_apart_and_no_file_of_another_name_goes(tmp_path):
    mine = tmp_path / "group1-shard1of1.bin.txt"
    mine.write_text("mine")
    for name in ("model.json", "small.json", "model.json"):
        checkpoint.save({"a": VALUES * len(name)}, tmp_path / name, overwrite=True)
    for name in ("model.json", "small.json"):
        assert checkpoint.open(tmp_path / name)["a"].read().tolist() == (VALUES * len(name)).tolist()
    assert {path.name for path in tmp_path.glob("*.bin*")} == {
        "group1-shard1of2.bin", "group1-shard2of2.bin", "small-group1-shard1of1.bin", mine.name,
    }  # fmt: skip


def test_files_of_weights_that_belong_to_no_model_are_in_the_way(tmp_path):
    (tmp_path / "group1-shard1of1.bin").write_bytes(b"?")
    with pytest.raises(ExistingOutput, match=r"group1-shard1of1\.bin exists already"):
        checkpoint.save({"a": VALUES}, tmp_path / "model.json")


def test_files_have_at_most_the_size_that_browsers_keep(tmp_path):
    values = {name: np.zeros(1 << 18, "f") for name in "abcdef"}  # 1 MiB each
    checkpoint.save(values, tmp_path / "model.json")
    assert sorted(path.stat().st_size for path in tmp_path.glob("*.bin")) == [2 << 20, 4 << 20]
    checkpoint.save(values, tmp_path / "model.json", overwrite=True, how=Writing(shard_bytes=1 << 20))
    assert {path.stat().st_size for path in tmp_path.glob("*.bin")} == {1 << 20}


def test_names_and_dtypes_that_it_cannot_have_are_said(tmp_path):
    with pytest.raises(FormatError, match=r"model/model\.json, in a folder"):
        checkpoint.save({"a": VALUES}, tmp_path / "model", format="tfjs")
    with pytest.raises(FormatError, match=r"a is float64, which no weight of TensorFlow\.js is; `cast` changes it"):
        checkpoint.save({"a": np.zeros(2)}, tmp_path / "model.json")
    with pytest.raises(FormatError, match="it is not text"):
        checkpoint.save({"\ud800": VALUES}, tmp_path / "model.json")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_kill_at_any_call_leaves_the_old_one_or_the_new(tmp_path):
    def write(value, folder):
        checkpoint.save(
            {"a": np.full(4, value, "f"), "b": np.full(4, value, "f")}, folder / "model.json", overwrite=True,
            how=Writing(shard_bytes=16),
        )  # fmt: skip

    for number in range(1, 120, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        write(1, folder)
        child = os.fork()
        if not child:
            with pytest.MonkeyPatch.context() as patch:
                before_call(patch, number, lambda: os._exit(9))
                write(2, folder)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        values = {float(value) for tensor in checkpoint.open(folder).values() for value in tensor.read()}
        assert values in (({1.0}, {2.0}) if status else ({2.0},)), number
        if not status:
            break
    assert 8 < number < 119


def test_what_was_opened_is_read_after_another_has_replaced_it(tmp_path):
    path, writing = tmp_path / "model.json", Writing(shard_bytes=16)
    for number in (1, 2):
        arrays = {name: np.full(4, number, np.float32) for name in "abc"}
        checkpoint.save(arrays, path, overwrite=True, how=writing)
        if number == 1:
            opened = checkpoint.open(path)
    assert {name: tensor.read().tolist() for name, tensor in opened.items()} == {name: [1.0] * 4 for name in "abc"}


def test_each_kind_of_weight_is_read_whole_and_in_pieces(tmp_path):
    weights = [weight("a", [2, 3]), weight("c", [2], **quantised("uint8", 0.5, -1))]
    opened = checkpoint.open(saved(tmp_path / "model.json", weights, VALUES.tobytes() + b"\2\4"))
    for name, array in {"a": VALUES, "c": np.float32([0, 1])}.items():
        assert opened[name].read().tolist() == array.tolist()
        assert b"".join(map(bytes, opened[name].pieces())) == array.tobytes()
    texts = np.array([b"x", b""], object)
    checkpoint.save({"t": texts}, tmp_path / "texts.json")
    assert checkpoint.open(tmp_path / "texts.json")["t"].read().tolist() == texts.tolist()


def test_a_file_that_changes_while_it_is_read_is_found(tmp_path, monkeypatch):
    files, stream = [f"group1-shard{n}of2.bin" for n in (1, 2)], CheckpointFile.stream
    for held in (64, 0):
        opened = checkpoint.open(saved(tmp_path / "model.json", [weight("a", [2, 3])], VALUES.tobytes(), files))

        def read_and_change(self, *where):
            yield from stream(self, *where)
            (tmp_path / files[1]).write_bytes(bytes(13))

        with monkeypatch.context() as patch, pytest.raises(CorruptCheckpoint, match=r"shard2of2\.bin changed"):
            patch.setattr(CheckpointFile, "stream", read_and_change)
            opened["a"].read()
        monkeypatch.setattr(module, "HELD_FILES", held - 64)
    opened = checkpoint.open(saved(tmp_path / "model.json", [weight("a", [2, 3])], VALUES.tobytes(), files))
    (tmp_path / files[0]).write_bytes(bytes(12))
    os.utime(tmp_path / files[0], ns=(0, 0))
    with pytest.raises(CorruptCheckpoint, match=r"shard1of2\.bin changed"):
        opened["a"].read()


@pytest.mark.parametrize(
    "raw, says",
    [
        (b"\1\0\0\0x", "t has 2 texts, more than its files can contain"),
        (b"\1\0\0\0x\0\0\0", "t is truncated, or the lengths of its texts are wrong"),
        (b"\4\0\0\0xxxx\0\0\0", "t is truncated, or the lengths of its texts are wrong"),
        (b"\1\0\0\0x\x09\0\0\0yz", "t ends at byte 18 of its files, which have 11: one is truncated"),
    ],
)
def test_texts_that_lost_their_ends_are_damaged(tmp_path, raw, says):
    with pytest.raises(CorruptCheckpoint, match=says):
        checkpoint.open(saved(tmp_path / "model.json", [weight("t", [2], "string")], raw.replace(rb"\9", b"\x09")))


def test_more_texts_than_are_read_are_neither_read_nor_written(tmp_path, monkeypatch):
    texts = np.array([b"xy", b"z"], object)
    checkpoint.save({"t": texts}, tmp_path / "model.json")
    monkeypatch.setattr(module, "TEXTS_LIMIT", 10)
    with pytest.raises(FormatError, match="t stores texts in files of over 10 bytes, which is not supported"):
        checkpoint.open(tmp_path / "model.json")
    for name, limit in (("TEXTS_LIMIT", 10), ("MOST_TEXTS", 1)):
        with monkeypatch.context() as patch, pytest.raises(FormatError, match="would have 2 texts of 11 bytes"):
            patch.setattr(writing, name, limit)
            checkpoint.save({"t": texts}, tmp_path / "new.json")
    monkeypatch.setattr(writing, "MOST_FILES", 3)
    values = {name: np.zeros(4, "f") for name in "abc"}
    with pytest.raises(FormatError, match="would have 3 files of weights, 3 are read: `shard_bytes`"):
        checkpoint.save(values, tmp_path / "new.json", how=Writing(shard_bytes=16))
    assert not list(tmp_path.glob("new*"))
    checkpoint.save(values, tmp_path / "new.json", how=Writing(shard_bytes=32))


@pytest.mark.parametrize("fault", ["files", "bytes"])
def test_what_was_written_is_compared_before_it_replaces_the_old_one(tmp_path, monkeypatch, fault):
    checkpoint.save({"a": VALUES}, tmp_path / "model.json")
    described, write = writing._Group.described, writing._write_file
    monkeypatch.chdir(tmp_path)

    def of_another_file(group):
        (place,) = [path for path in group.files if path.stat().st_size]
        place.with_name("other.bin").write_bytes(place.read_bytes())
        return {**described(group), "paths": ["other.bin"]}

    def cut(tensors, path):
        write(tensors, path)
        os.truncate(path, max(0, path.stat().st_size - 1))

    if fault == "files":
        monkeypatch.setattr(writing._Group, "described", of_another_file)
    else:
        monkeypatch.setattr(writing, "_write_file", cut)
    says = {"files": "are others than were written", "bytes": "do not have the 24 bytes that were written"}[fault]
    with pytest.raises(CorruptCheckpoint, match=says):
        checkpoint.save({"a": VALUES * 2}, "model.json", overwrite=True)
    assert checkpoint.open("model.json")["a"].read().tolist() == VALUES.tolist()


def test_files_that_a_model_json_lists_are_beside_it(tmp_path):
    path = saved(tmp_path / "model.json", [weight("a", [2, 3])], VALUES.tobytes())
    (part,) = tmp_path.glob("*.bin")
    assert Tfjs().files_beside(path) == Tfjs().files_named_in(tmp_path) == [part]
    (tmp_path / "net.json").write_bytes(path.read_bytes())
    assert Tfjs().files_beside(tmp_path / "net.json") == []
    path.write_text("{")
    assert Tfjs().files_beside(path) == []
    path.unlink()
    assert Tfjs().files_beside(path) == []
