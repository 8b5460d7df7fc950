"""Unsupported files: each is identified, and the message's suggestion converts it to a supported one."""

import gzip
import pickle
import shlex
import struct
import subprocess
import sys

import joblib
import numpy as np
import pytest
import scipy.io
from sklearn.linear_model import LogisticRegression

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.formats import unread

NETWORK = b'{"keras_version": "2.2", "backend": "tensorflow", "class_name": "Sequential", "config": []}'
SAMPLES = {
    "a web page": ("a.npz", b"\n<!DOCTYPE html><html>"),
    "Core ML": ("a.mlmodel", b"\x08\x01\x12\x00"),
    "weights of PaddlePaddle": ("a.pdparams", pickle.dumps({"w": 1}, 2)),
    "a part of a program of PaddlePaddle": ("a.pdiparams", bytes(8)),
    "parameters of MXNet": ("a.params", struct.pack("<QQ", 0x112, 0)),
    "a model of OpenVINO": ("a.xml", b'<?xml version="1.0"?>\n<net name="a" version="11">'),
    "a compiled engine of TensorRT": ("a.bin", b"ptrt\0\0\0\0"),
    "a program of ExecuTorch": ("a.bin", b"\x30\0\0\0ET12"),
    "a picture": ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF"),
    "a model of ncnn": ("a.param", b"7767517\n3 3\n"),
    "compiled for a device": ("a.rknn", b"RKNN\0\0"),
    "a program of JAX or StableHLO": ("a.mlirbc", b"ML\xefR\x0d"),
    "a model of CNTK": ("a.model", "BCN\0".encode("utf-16-le")),
    "from before GGUF": ("a.bin", b"tjgg\3\0\0\0"),
    "a file of MATLAB 5 to 7": ("a.mat", b"MATLAB 5.0 MAT-file, Platform"),
    "vectors of fastText": ("a.bin", struct.pack("<ii", 793712314, 12)),
    "a file of Torch 7": ("a.t7", b"\4\0\0\0"),
    "a network of Deeplearning4j": ("a.zip", b"PK\3\4" + bytes(26) + b"configuration.json"),
    "trees, which have no tensors": ("a.txt", b"tree\nversion=v3\n"),
    "the layers of a Keras network": ("a.json", NETWORK),
    "the configuration of a model of Hugging Face": ("config.json", b'{"architectures": ["BertModel"]}'),
    "the layers of a network of Caffe": ("a.prototxt", b'name: "a"'),
    "the layers of a network of Darknet": ("a.cfg", b"# yolo\n[net]\nwidth=8\n"),
    "a file of a model of TensorFlow.js": ("group1-shard1of2.bin", bytes(8)),
    "a log of TensorBoard": ("events.out.tfevents.1.host", bytes(8)),
    "a file of joblib": ("a.joblib", b"\x80\4\x95"),
    "a pickle of Python objects": ("a.model", pickle.dumps([1])),
    "packed by gzip": ("a.npz.gz", gzip.compress(b"a")),
    "packed by Zstandard": ("a.zst", b"\x28\xb5\x2f\xfd\0"),
    "packed by xz": ("a.xz", b"\xfd7zXZ\0\0"),
    "packed by bzip2": ("a.bz2", b"BZh91AY"),
    "an archive of 7-Zip": ("a.7z", b"7z\xbc\xaf\x27\x1c"),
    "a tar archive": ("a.tar", bytes(257) + b"ustar\0" + bytes(249)),
}


@pytest.mark.parametrize("what", SAMPLES)
def test_each_is_named(tmp_path, what):
    name, content = SAMPLES[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=f"is .*{what}.*, which is not supported: ") as refused:
        checkpoint.open(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_every_kind_has_a_sample():
    kinds = [next(each for each in unread.EVERY if each.takes(*sample)) for sample in SAMPLES.values()]
    (missing,) = {*unread.EVERY} - {*kinds}
    assert missing.what == "a zip archive of other files"
    assert all(len([kind for kind in kinds if kind is each]) == 1 for each in kinds)


def test_yaml_of_keras_and_folders_are_named(tmp_path):
    (tmp_path / "net.yaml").write_text("backend: tensorflow\nclass_name: Sequential\nconfig: []\n")
    assert "layers of a Keras network" in unread.recognised(tmp_path / "net.yaml")
    (tmp_path / "net.mlpackage" / "Data" / "com.apple.CoreML").mkdir(parents=True)
    with pytest.raises(FormatError, match="is a model of Core ML, which is not supported"):
        checkpoint.open(tmp_path / "net.mlpackage")


def test_what_nobody_knows_is_said_so(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\1\2\3\4")
    with pytest.raises(FormatError, match="its bytes are none of these"):
        checkpoint.open(tmp_path / "a.bin")


def matlab(path):
    scipy.io.savemat(path, {"kernel": np.arange(6.0).reshape(2, 3)})
    return "kernel", np.arange(6.0).reshape(2, 3)


def estimator(path):
    model = LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])
    if path.suffix == ".joblib":
        joblib.dump(model, path)
    else:
        path.write_bytes(pickle.dumps(model))
    return "coef_", model.coef_


def arrays(path):
    path.write_bytes(pickle.dumps({"w": np.arange(3)}, 0))
    return "w", np.arange(3)


@pytest.mark.parametrize(
    "name, write", [("a.mat", matlab), ("a.pkl", estimator), ("a.joblib", estimator), ("b.pkl", arrays)]
)
def test_what_is_advised_makes_a_file_that_is_read(tmp_path, name, write):
    key, expected = write(tmp_path / name)
    command = unread.recognised(tmp_path / name).partition("`")[2].rpartition("`")[0]
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
    made = checkpoint.open(tmp_path / f"{name[0]}.npz")
    assert made[key].read().tolist() == expected.tolist()


def test_commands_are_whole_python_and_paths_with_quotes_are_not_put_into_them(tmp_path):
    for _, remedy in unread.rows():
        for command in remedy.split("`")[1::2]:
            program, *rest = shlex.split(command)
            if program == "python" and rest[0] == "-c":
                compile(rest[1], "advice", "exec")
    odd = tmp_path / "it's.pkl"
    odd.write_bytes(pickle.dumps([1]))
    assert "open('FILE', 'rb')" in unread.recognised(odd)
