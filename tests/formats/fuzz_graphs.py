"""Graphs and networks, of TensorFlow and of Keras: read, and inspected in all the ways of the commands."""

import contextlib
import io
import json
from pathlib import Path

import h5py
from fuzz_checkpoints import CONFIG, WEIGHTS
from fuzz_target import ARRAY, Target, hdf5, one_file, read_checkpoint, scanned, zipped
from google.protobuf import text_format

from ckpttool.core.errors import CkptError
from ckpttool.formats.keras.network import read_network
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel
from ckpttool.graph import files
from ckpttool.graph.gate import require_computing
from ckpttool.graph.roles.resolve import find_roles
from ckpttool.model.graphs import graph_as_run
from ckpttool.verbs.collections import collection_rows
from ckpttool.verbs.layers import layer_patterns, layer_rows
from ckpttool.verbs.ops import op_rows
from ckpttool.verbs.vars import variable_rows


def meta() -> bytes:
    graph = MetaGraphDef()
    node = graph.graph_def.node.add(name="w", op="VariableV2")
    node.attr["shape"].shape.dim.add(size=2)
    node.attr["dtype"].type = 1  # type: ignore[assignment]
    graph.graph_def.node.add(name="w/read", op="Identity", input=["w"])
    graph.collection_def["variables"].bytes_list.value.append(b"\n\x03w:0")
    return graph.SerializeToString()


def saved_model() -> bytes:
    model = SavedModel(saved_model_schema_version=1)
    model.meta_graphs.add().CopyFrom(MetaGraphDef.FromString(meta()))
    model.meta_graphs[0].meta_info_def.tags.append("serve")
    return model.SerializeToString()


def frozen() -> bytes:
    graph = MetaGraphDef().graph_def
    graph.node.add(name="X", op="Placeholder").attr["dtype"].type = 1  # type: ignore[assignment]
    weight = graph.node.add(name="dense/kernel", op="Const")
    weight.attr["dtype"].type = weight.attr["value"].tensor.dtype = 1  # type: ignore[assignment]
    for size in ARRAY.shape:
        weight.attr["value"].tensor.tensor_shape.dim.add(size=size)
    weight.attr["value"].tensor.tensor_content = ARRAY.tobytes()
    graph.node.add(name="dense/MatMul", op="MatMul", input=["X", "dense/kernel"])
    return graph.SerializeToString()


def load_graph(path: Path) -> None:
    graph = files.load(path)
    assert isinstance(graph.problems(), object)


def gate_and_roles(path: Path) -> None:
    graph = graph_as_run(path)
    with contextlib.suppress(CkptError):
        require_computing(graph)
    find_roles(graph, needed=())


look_at_graph = scanned(
    load_graph,
    op_rows,
    collection_rows,
    lambda path: layer_patterns(layer_rows(path)),
    lambda path: list(variable_rows(path, None, True, False, lambda text: None)),
    gate_and_roles,
)

FUNCTIONAL = json.dumps(
    {
        "module": "keras",
        "class_name": "Functional",
        "config": {
            "name": "net",
            "layers": [
                {
                    "module": "keras.layers",
                    "class_name": "InputLayer",
                    "config": {"batch_shape": [None, 2], "dtype": "float32", "name": "x"},
                    "name": "x",
                    "inbound_nodes": [],
                },
                {
                    "module": "keras.layers",
                    "class_name": "Dense",
                    "config": {
                        "name": "dense",
                        "units": 3,
                        "activation": "relu",
                        "kernel_initializer": {
                            "module": "keras.initializers",
                            "class_name": "GlorotUniform",
                            "config": {"seed": None},
                        },
                    },
                    "name": "dense",
                    "inbound_nodes": [
                        {
                            "args": [
                                {
                                    "class_name": "__keras_tensor__",
                                    "config": {"shape": [None, 2], "keras_history": ["x", 0, 0]},
                                }
                            ],
                            "kwargs": {},
                        }
                    ],
                },
            ],
            "input_layers": [["x", 0, 0]],
            "output_layers": [["dense", 0, 0]],
        },
        "compile_config": {
            "optimizer": {"module": "keras.optimizers", "class_name": "SGD", "config": {"learning_rate": 0.1}},
            "loss": "mse",
            "metrics": ["accuracy"],
        },
    },
    separators=(",", ":"),
).encode()
OLD = (
    b'{"class_name":"Model","config":{"name":"m","layers":[{"name":"x","class_name":"InputLayer","config":'
    b'{"batch_input_shape":[null,2],"dtype":"float32","name":"x"},"inbound_nodes":[]},{"name":"d","class_name":"Dense",'
    b'"config":{"name":"d","units":3},"inbound_nodes":[[["x",0,0,{}]]]}],"input_layers":[["x",0,0]],'
    b'"output_layers":[["d",0,0]]},"keras_version":"2.2.4"}'
)


def whole_h5(part: bytes) -> bytes:
    """Return a whole Keras 2 model, whose network is the part."""
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        weights = file.create_group("model_weights")
        weights["d/d/kernel:0"] = ARRAY
        weights.attrs["layer_names"], weights["d"].attrs["weight_names"] = ["d"], ["d/kernel:0"]
        file.attrs["keras_version"] = "2.2.4"
        file.attrs.create("model_config", part, dtype=h5py.string_dtype(length=max(len(part), 1)))
    return out.getvalue()


TARGETS: dict[str, Target] = {
    "graph": Target(meta(), one_file("x.meta"), look_at_graph),
    "graph in text": Target(
        text_format.MessageToString(MetaGraphDef.FromString(meta()), as_one_line=True).encode(),
        one_file("x.pbtxt"),
        look_at_graph,
    ),
    "frozen graph": Target(frozen(), one_file("x.pb"), scanned(read_checkpoint, load_graph)),
    "SavedModel": Target(
        saved_model(), lambda folder, part: one_file("saved_model.pb")(folder, part).parent, look_at_graph
    ),
    "network of Keras": Target(
        FUNCTIONAL,
        one_file("x.keras", zipped("config.json", (WEIGHTS, hdf5()))),
        scanned(read_network),
    ),
    "network of Keras 2": Target(OLD, one_file("x.h5", whole_h5), scanned(read_network)),
    "metadata in a .keras": Target(
        b'{"keras_version":"3.15.0","ckpttool":{"preprocess":"scale(1/255)","classes":["a","b"],"head":["dense"]}}',
        one_file("x.keras", zipped("metadata.json", ("config.json", CONFIG), (WEIGHTS, hdf5()))),
        scanned(read_network, layer_rows),
    ),
}
