"""Darknet files: the numbers of each layer equal those of OpenCV, which reads them too."""

import shutil
import struct

import cv2
import keras
import numpy as np
import pytest
from conformance import ReadingTests
from darknet_files import CFG, COUNT, HEADER, network, numbers, section, write
from keras import layers

import ckpttool
from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats import registry
from ckpttool.formats.darknet.format import Darknet


class TestDarknet(ReadingTests):
    name = "darknet"
    suffix = ".weights"
    checksums = False

    def save(self, tensors, path, overwrite):
        values = [np.asarray(tensor.read(), "<f4").ravel() for tensor in tensors.values()]
        layers = (section("batchnorm"),) if values else ()
        write(path.parent, network(*layers, channels=3), np.concatenate([*values * 4, []]).astype("<f4"), path.stem)

    test_every_name_is_listed_and_no_other = test_names_are_not_files = None
    test_a_damaged_tensor_does_not_hide_the_others = test_every_cut_is_found = None


def in_opencv(path):
    raw = (np.frombuffer(file.read_bytes(), np.uint8) for file in (path.with_suffix(".cfg"), path))
    return cv2.dnn.readNetFromDarknet(*raw)


def test_numbers_are_those_that_opencv_has(tmp_path):
    path = write(tmp_path)
    ckpt, theirs = checkpoint.open(path), in_opencv(path)
    parts = {"conv": ("weight", "bias"), "bn": ("running_mean", "running_var", "weight", "bias")}
    compared = set()
    for layer in theirs.getLayerNames():
        kind, _, number = layer.partition("_")
        within = f"convolutional_{number}/" + ("bn/" if kind == "bn" else "")
        for blob, part in zip(theirs.getLayer(theirs.getLayerId(layer)).blobs, parts.get(kind, ()), strict=False):
            assert ckpt[within + part].read().ravel().tolist() == blob.ravel().tolist()
            compared.add(within + part)
    assert compared == set(ckpt)
    assert {name: ckpt[name].shape for name in ckpt if name.endswith("weight")} == {
        "convolutional_0/bn/weight": (4,),
        "convolutional_0/weight": (4, 3, 3, 3),
        "convolutional_2/weight": (6, 4, 1, 1),
        "convolutional_4/weight": (5, 2, 3, 3),
    }
    assert (ckpt.metadata, ckpt.framework) == ({"version": "0.2.5", "seen": "64000"}, "darknet")


def test_keras_computes_the_same_with_a_converted_network(tmp_path):
    path = write(tmp_path, CFG.partition("[route]")[0], numbers(4 * 4 + 4 * 27 + 6 + 24))
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv0")(image)
    x = layers.BatchNormalization(epsilon=1e-6, name="bn0")(x)
    x = layers.MaxPooling2D()(layers.LeakyReLU(negative_slope=0.1)(x))
    keras.Model(image, layers.Conv2D(6, 1, name="conv2")(x)).save(tmp_path / "like.keras")
    ckpttool.convert(path, tmp_path / "out.keras", like=tmp_path / "like.keras")
    rows = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype(np.float32)
    theirs = in_opencv(path)
    theirs.setInput(rows.transpose(0, 3, 1, 2).copy())
    found = keras.models.load_model(tmp_path / "out.keras").predict(rows, verbose=0)
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), theirs.forward(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["net_final", "net_10000", "net_best"])
def test_weights_of_a_stage_of_training_find_their_network(tmp_path, name):
    shutil.move(write(tmp_path), tmp_path / f"{name}.weights")
    (tmp_path / "other.cfg").write_text("")
    assert len(checkpoint.open(tmp_path / f"{name}.weights")) == 9


def test_the_only_network_of_a_folder_is_taken_and_none_is_missed(tmp_path):
    write(tmp_path)
    (tmp_path / "net.cfg").rename(tmp_path / "yolo.cfg")
    assert len(checkpoint.open(tmp_path / "net.weights")) == 9
    (tmp_path / "other.cfg").write_text("")
    with pytest.raises(
        MissingFile, match=r"net\.cfg is missing: net\.weights needs the network's \.cfg beside it.* has 2 others"
    ):
        checkpoint.open(tmp_path / "net.weights")
    assert Darknet().files_beside(tmp_path / "net_final.weights") == [tmp_path / "net_final.cfg", tmp_path / "net.cfg"]


def test_sizes_that_do_not_fit_are_named(tmp_path):
    message = (
        rf"convolutional_4/weight \[5, 2, 3, 3\] would end at byte {20 + 4 * COUNT}, the file has {16 + 4 * COUNT}"
    )
    with pytest.raises(
        CorruptCheckpoint, match=rf"net\.weights: {message}: .* belongs to another network than net\.cfg"
    ):
        checkpoint.open(write(tmp_path, values=numbers(COUNT - 1)))
    with pytest.raises(CorruptCheckpoint, match=r"4 bytes at its end belong to no layer of net\.cfg"):
        checkpoint.open(write(tmp_path, values=numbers(COUNT + 1)))


def test_cuts_are_found_everywhere(tmp_path):
    path = write(tmp_path)
    whole = path.read_bytes()
    for size in [*range(24), *range(24, len(whole), 37)]:
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptCheckpoint, match=r"net\.weights"):
            checkpoint.open(path)


def test_old_headers_are_shorter_and_their_matrices_transposed(tmp_path):
    cfg, values = network(section("connected", output=2), channels=1, height=1, width=3), np.arange(8, dtype="<f4")
    new = checkpoint.open(write(tmp_path, cfg, values))["connected_0/weight"]
    assert new.read().tolist() == [[2, 3, 4], [5, 6, 7]]
    short = checkpoint.open(write(tmp_path, cfg, values, header=struct.pack("<4i", 0, 1, 0, 7)))
    assert (short["connected_0/weight"].read().tolist(), short.metadata["seen"]) == ([[2, 3, 4], [5, 6, 7]], "7")
    old = checkpoint.open(write(tmp_path, cfg, values, header=struct.pack("<3iQ", 1001, 0, 0, 7)))
    assert old["connected_0/weight"].read().tolist() == [[2, 4, 6], [3, 5, 7]]
    last = checkpoint.open(write(tmp_path, cfg, values, header=struct.pack("<3iQ", 1000, 0, 0, 7)))
    assert last["connected_0/weight"].read().tolist() == [[2, 3, 4], [5, 6, 7]]


def test_what_is_no_file_of_darknet_is_refused(tmp_path):
    with pytest.raises(CorruptCheckpoint, match="its version would be"):
        checkpoint.open(write(tmp_path, header=b"PK\3\4" + HEADER))
    (tmp_path / "net.weights").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FormatError, match="git lfs pull"):
        registry.find(tmp_path / "net.weights")


def test_a_header_has_a_version_and_is_as_long_as_that_says(tmp_path):
    empty = network(channels=1)
    for header, seen in {
        struct.pack("<4i", 0, 1, 9, 7): "7",
        struct.pack("<3iQ", 0, 2, 0, 7): "7",
        struct.pack("<3iQ", 1, 0, 0, 1 << 40): str(1 << 40),
        struct.pack("<4i", 0, 2, 0, 7): "7",
    }.items():
        assert checkpoint.open(write(tmp_path, empty, numbers(0), header=header)).metadata["seen"] == seen
    with pytest.raises(CorruptCheckpoint, match="it has 15 bytes, a header has 16 or 20: it is truncated"):
        checkpoint.open(write(tmp_path, empty, numbers(0), header=struct.pack("<4i", 0, 1, 9, 7)[:15]))
    with pytest.raises(CorruptCheckpoint, match=r"its version would be \[-1, 2, 0\]"):
        checkpoint.open(write(tmp_path, empty, numbers(0), header=struct.pack("<3iQ", -1, 2, 0, 7)))
