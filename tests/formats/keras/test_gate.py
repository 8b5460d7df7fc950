"""Hostile configs: each is rejected, with its layer, before Keras is imported, and nothing in it is run."""

import copy
import json
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.connections import references
from ckpttool.formats.keras.gate import MOST_LAYERS
from ckpttool.formats.keras.network import read_network
from ckpttool.runtime.configure import keras as keras_on_tensorflow


def obj(kind, module="keras.layers", **config):
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def tensor(name, node=0):
    history = {"shape": [None, 4], "dtype": "float32", "keras_history": [name, node, 0]}
    return {"class_name": "__keras_tensor__", "config": history}


def called(layer, *inputs):
    node = [{"args": [tensor(each) for each in inputs], "kwargs": {}}] if inputs else []
    return {**layer, "name": layer["config"]["name"], "inbound_nodes": node}


START = obj("InputLayer", name="x", batch_shape=[None, 4])
DENSE = obj("Dense", name="d", units=4)


def sequential(*layers, name="net"):
    return obj("Sequential", "keras", name=name, layers=[START, *layers])


def functional(*layers, outputs="d"):
    layers = [called(START), *layers]
    config = {"name": "net", "layers": layers, "input_layers": ["x", 0, 0], "output_layers": [outputs, 0, 0]}
    return obj("Functional", "keras.src.models.functional", **config)


def function(name, module="builtins"):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def dense(**config):
    return sequential(obj("Dense", name="d", units=4, **config))


CODE = {"class_name": "__lambda__", "config": {"code": "4wEA", "defaults": None, "closure": None}}
LAMBDA = obj("Lambda", name="l", function=CODE)
DEEP = sequential(DENSE)
for number in range(80):
    DEEP = sequential(DEEP, name=f"n{number}")

HOSTILE = {
    "lambda": (sequential(LAMBDA), "the layer net/l is a Lambda: it contains Python code"),
    "lambda without bytecode": (sequential(obj("Lambda", name="l", function=function("tanh"))), "net/l is a Lambda"),
    "nested lambda": (sequential(sequential(LAMBDA, name="inner")), "the layer net/inner/l is a Lambda"),
    "in TimeDistributed": (sequential(obj("TimeDistributed", name="t", layer=LAMBDA)), "the layer net/t/l is a Lambda"),
    "in Bidirectional": (
        sequential(obj("Bidirectional", name="b", layer=obj("RNN", name="r", cell=LAMBDA))),
        "the layer net/b/r/l is a Lambda",
    ),
    "among cells": (sequential(obj("RNN", name="r", cell=[obj("GRUCell", name="g", units=2), LAMBDA])), "net/r/l is a"),
    "code as an activation": (dense(activation=CODE), "net/d is a __lambda__"),
    "code in an initializer": (
        dense(kernel_initializer=obj("Constant", "keras.initializers", value=CODE)),
        "__lambda__",
    ),
    "code among the arguments": (
        functional(called(obj("Dense", name="d", units=4), "x") | {"inbound_nodes": [{"args": [CODE], "kwargs": {}}]}),
        "__lambda__",
    ),
    "custom module": (
        sequential(obj("Block", "my.code", name="b")),
        "net/b is not one of Keras's own classes, my.code",
    ),
    "os": (
        sequential(obj("system", "os", name="b", command="true")),
        "net/b is not one of Keras's own classes, os.system",
    ),
    "registered": (
        sequential({**obj("Block", None, name="b"), "registered_name": "Custom>Block"}),
        "net/b is a custom class, Custom>Block: its code is not in the file; its weights are read",
    ),
    "registered under a name of Keras": (
        sequential({**DENSE, "registered_name": "pkg>Dense"}),
        "net/d is a custom class, pkg>Dense",
    ),
    "module that looks like Keras": (sequential(obj("Dense", "keras_evil.layers", name="d")), "not one of Keras's"),
    "get_file as a class": (
        sequential(obj("get_file", "keras.utils", name="g", origin="http://example.com/x")),
        "net/g is not one of Keras's own classes, get_file",
    ),
    "get_file as an activation": (
        dense(activation=function("get_file", "keras.utils")),
        "net/d calls keras.utils.get_f",
    ),
    "load_model as an activation": (
        dense(activation=function("load_model", "keras.saving")),
        "calls keras.saving.load",
    ),
    "unsafe mode": (
        dense(activation=function("enable_unsafe_deserialization", "keras.config")),
        "calls keras.config.enable_unsafe_deserialization",
    ),
    "builtins": (dense(activation=function("eval")), "calls builtins.eval"),
    "an activation by name": (
        dense(activation="my_activation"),
        "net/d has the activation my_activation, not one of Keras's",
    ),
    "an initializer by name": (dense(kernel_initializer="mine"), "net/d has the initializer mine, not one of Keras's"),
    "TFSMLayer": (sequential(obj("TFSMLayer", "keras.export", name="t", filepath="/tmp/x")), "net/t is a TFSMLayer"),
    "TorchModuleWrapper": (sequential(obj("TorchModuleWrapper", name="t", module="gAN=")), "pickled PyTorch module"),
    "JaxLayer": (sequential(obj("JaxLayer", name="j")), "net/j is a JaxLayer"),
    "a map over a function": (functional(called(obj("Map", "keras.src.ops.core", name="d"), "x")), "the operation Map"),
    "a vocabulary in a file": (
        sequential(obj("StringLookup", name="s", vocabulary="/etc/passwd")),
        "net/s would read its vocabulary from '/etc/passwd'",
    ),
    "words in a file": (
        sequential(obj("TextVectorization", name="s", vocabulary="words.txt")),
        "net/s would read its vocabulary from 'words.txt'",
    ),
    "weights on a server": (
        sequential(obj("IntegerLookup", name="s", idf_weights="https://example.com/x")),
        "net/s would read its idf_weights",
    ),
    "a server": (
        sequential(obj("Rescaling", name="r", scale="http://example.com/x")),
        "scale = 'http://example.com/x'",
    ),
    "a file": (sequential(obj("Rescaling", name="r", scale="file:///etc/passwd")), "the path of a file or a server"),
    "a type of TensorFlow's": (
        dense(dtype={"class_name": "__typespec__", "module": "os", "spec_name": "x", "config": []}),
        "net/d is not one of Keras's own classes, os.__typespec__",
    ),
    "subclassed": (obj("MyModel", None, name="m", units=3), "a subclassed model, MyModel.*model.export"),
    "Model without layers": (obj("Model", "keras", name="m"), "a subclassed model, Model"),
    "many units": (
        sequential(obj("Dense", name="d", units=10**12)),
        "net/d has units = 1000000000000, at most 2147483648 is",
    ),
    "a large shape": (
        obj("Sequential", "keras", name="net", layers=[obj("InputLayer", name="x", batch_shape=[None, 2**20, 2**20])]),
        r"net/x has batch_shape = \[None, 1048576, 1048576\]",
    ),
    "many layers": (sequential(*[DENSE] * MOST_LAYERS), "more than 10000 layers"),
    "many layers, nested": (
        sequential(*(sequential(*[obj("Dense", name=f"{k}") for k in range(6000)], name=f"n{n}") for n in range(2))),
        "more than 10000 layers",
    ),
    "deep": (DEEP, r"n79/n78/.*/\[\.\.\. \d+ levels \.\.\.\]/.* is nested more than 200 levels deep"),
    "a circle": (
        functional(called(obj("Add", name="d"), "x", "e"), called({**DENSE, "config": {"name": "e"}}, "d")),
        "the layer net: its layers are connected in a cycle, which contains or leads to [de]",
    ),
    "a layer on itself": (functional(called(DENSE, "d")), "connected in a cycle, which contains or leads to d"),
    "a missing layer": (functional(called(DENSE, "y")), "d is called on y, which is not a layer"),
    "a missing output": (functional(called(DENSE, "x"), outputs="z"), "output_layers refer to z"),
    "a call that is not made": (
        functional({**called(DENSE, "x"), "inbound_nodes": [{"args": [tensor("x", 7)], "kwargs": {}}]}),
        "d is called on a call of x that is not made",
    ),
    "two of one name": (sequential(DENSE, DENSE), "the layer net: 2 layers are named d"),
    "two names of one": (functional({**called(DENSE, "x"), "name": "e"}), "named 'e' and 'd'"),
    "no nodes": (functional({**DENSE, "name": "d"}), "d has no inbound_nodes"),
    "a layer that is none": (sequential("d"), "has a layer without a name"),
    "a class without a name": (sequential({**DENSE, "class_name": ["Dense"]}), "a class that is not a name"),
    "a config that is none": (sequential({**DENSE, "config": "units"}), "a config that is not an object"),
    "no object": ([1, 2], "its config is not an object"),
}


def archive(path, config, metadata=b'{"keras_version": "3.15.0"}'):
    """Write a `.keras` with a config, as an object or as text."""
    with h5py.File(path.with_suffix(".weights"), "w") as file:
        file["layers/dense/vars/0"] = np.ones((4, 4), "f4")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("metadata.json", metadata)
        out.writestr("config.json", config if isinstance(config, bytes | str) else json.dumps(config))
        out.write(path.with_suffix(".weights"), "model.weights.h5", zipfile.ZIP_STORED)
    path.with_suffix(".weights").unlink()
    return path


def whole_h5(path, config):
    """Write a whole model's `.h5`; long attributes are in the file's heap."""
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "3.15.0"
    return path


@pytest.mark.parametrize("held", [True, None, 3, [], "x", {}, {"keras_history": 3}, {"keras_history": ["x", 0]}])
def test_a_tensor_that_does_not_say_of_which_call_it_is_refers_to_none(held):
    assert not [*references({"class_name": "__keras_tensor__", "config": held})]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_configs_are_refused_by_their_layer(tmp_path, name):
    config, message = HOSTILE[name]
    with pytest.raises(FormatError, match=message) as caught:
        read_network(archive(tmp_path / "m.keras", config))
    assert "\n" not in str(caught.value)
    with pytest.raises(FormatError, match=message):
        read_network(whole_h5(tmp_path / "m.h5", config))


def test_what_a_model_was_compiled_with_is_held_against_the_lists(tmp_path):
    """A custom loss does not make the network unusable; code in its place does."""
    config = sequential(DENSE)
    own = {"optimizer": "adam", "loss": obj("MyLoss", "my.losses"), "metrics": ["accuracy"]}
    network = read_network(archive(tmp_path / "m.keras", {**config, "compile_config": own}))
    assert network.compiled is None
    assert "my.losses.MyLoss" in network.not_compiled
    named = read_network(
        archive(tmp_path / "n.keras", {**config, "compile_config": {"loss": ["mine"], "optimizer": "adam"}})
    )
    assert "compiled with a custom loss, mine" in named.not_compiled
    for hostile in (CODE, function("exec"), function("system", "os")):
        with pytest.raises(FormatError, match=r"__lambda__|builtins\.exec|os\.system"):
            read_network(archive(tmp_path / "o.keras", {**config, "compile_config": {"loss": hostile}}))


def test_a_custom_function_as_loss_does_not_make_the_network_unusable(tmp_path):
    def ours(true, predicted):
        return keras.ops.mean(keras.ops.abs(true - predicted), -1)

    keras = keras_on_tensorflow()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("adam", ours, metrics=[ours])
    model.save(tmp_path / "m.keras")
    network = read_network(tmp_path / "m.keras")
    assert network.compiled is None
    assert "calls builtins.ours, which is none of Keras's activations, losses or metrics" in network.not_compiled


def test_texts_of_two_meanings_are_refused(tmp_path):
    twice = json.dumps(sequential(DENSE)).replace(
        '"class_name": "Dense"', '"class_name": "Lambda", "class_name": "Dense"'
    )
    with pytest.raises(FormatError, match=r"config\.json is damaged: the key 'class_name' appears twice"):
        read_network(archive(tmp_path / "m.keras", twice))
    with pytest.raises(FormatError, match="nested too deeply"):
        read_network(archive(tmp_path / "n.keras", '{"a":' * 100_000))
    with pytest.raises(FormatError, match="NaN is not a valid number"):
        read_network(archive(tmp_path / "o.keras", '{"class_name": "Dense", "config": {"units": NaN}}'))


def test_a_config_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    with pytest.raises(FormatError, match=r"config\.json has 100000000 bytes, at most 16777216 is allowed"):
        read_network(archive(tmp_path / "m.keras", b"[" + b" " * (10**8 - 1)))


def test_the_module_of_a_file_is_never_that_of_what_is_built(tmp_path):
    """Only listed classes are named, whatever module a file claims."""
    odd = copy.deepcopy(sequential({**DENSE, "module": "keras.src.engine.somewhere.else"}))
    odd["config"]["layers"][1]["config"]["kernel_initializer"] = {"class_name": "Zeros", "config": {}}
    layer = read_network(archive(tmp_path / "m.keras", odd)).architecture["config"]["layers"][1]
    assert layer["module"] == "keras.layers"
    assert layer["config"]["kernel_initializer"]["module"] == "keras.initializers"


def test_words_of_a_vocabulary_may_look_like_anything(tmp_path):
    words = ["http://example.com", "/etc/passwd", "file://x"]
    config = obj("StringLookup", name="s", vocabulary=words, vocabulary_size=3)
    layer = read_network(archive(tmp_path / "m.keras", sequential(config))).architecture["config"]["layers"][1]
    assert layer["config"]["vocabulary"] == words


CANARY = """
import os, sys
from pathlib import Path

ALARMS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect", "pickle.find_class")

def end(what):
    os.write(2, f"CANARY: {what}".encode())
    os._exit(99)

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "tensorflow", "torch", "jax"):
            end(name)

def audit(event, arguments):
    if event in ALARMS or event == "open" and "/etc/passwd" in str(arguments[0]):
        end(event)

sys.meta_path.insert(0, Blocked())
sys.addaudithook(audit)

from ckpttool.core.errors import CkptError
from ckpttool.formats.keras.network import read_network

for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_network(path)
    except CkptError as error:
        print(path.name, "refused")
    else:
        print(path.name, "READ")
"""


def test_nothing_happens_and_keras_stays_away(tmp_path):
    """All of them, in one process in which an import of Keras, another file or a command would end it."""
    folder = tmp_path / "files"
    folder.mkdir()
    for number, (config, _) in enumerate(HOSTILE.values()):
        archive(folder / f"{number}.keras", config)
    before = sorted(tmp_path.rglob("*"))
    run = [sys.executable, "-c", CANARY, str(folder)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=False)
    assert "CANARY" not in done.stderr
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(HOSTILE)
    assert "READ" not in done.stdout
    assert sorted(tmp_path.rglob("*")) == before
