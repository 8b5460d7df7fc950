"""Hostile models: an op of TensorFlow's registry, with all that it needs to run, in a place of a network."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool import checkpoint
from ckpttool.formats.wire.protos.graph_pb2 import FunctionDef, NodeDef
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel
from ckpttool.graph.computing_ops import COMPUTING

TYPES: Any = (1, 3, 7, 10, 20, 21, 100)
FLOAT, INT32, STRING, BOOL, RESOURCE, VARIANT, REFERENCE = TYPES
PREFIX, SERVED, BESIDE_IT = "model.ckpt", "served", "plain.ckpt"
SHAPES = {"hidden1/kernel": (4, 5), "outputs/kernel": (5, 3)}
CALLS = {
    "call": ("StatefulPartitionedCall", ("f",)),
    "map": ("MapDefun", ("f",)),
    "if": ("If", ("else_branch", "then_branch")),
    "while": ("While", ("body", "cond")),
    "case": ("Case", ("branches",)),
    "derivative": ("SymbolicGradient", ("f",)),
    "called by name": ("body", ()),
    "gradient": ("PartitionedCall", ("f",)),
    "three calls deep": ("PartitionedCall", ("f",)),
}
ON_THE_WAY = ("plain", "cond", *CALLS)
"""Places on which the logits depend: commands that run the graph must refuse."""
BESIDE = ("update_ops", "train_op", "initialiser", "saver", "table", "main_op", "signature")
"""Places that some commands may reach: they refuse, or work without the op."""
PLACES = (*ON_THE_WAY, *BESIDE, f"{SERVED} plain", f"{SERVED} call", f"{SERVED} main_op", f"{SERVED} table")


@cache
def registry() -> dict[str, Any]:
    """Return TensorFlow's registered ops."""
    from tensorflow.core.framework.op_def_pb2 import OpList
    from tensorflow.python.client.pywrap_tf_session import TF_GetAllOpList, TF_GetBuffer

    return {op.name: op for op in OpList.FromString(TF_GetBuffer(TF_GetAllOpList())).op}


def refused_ops() -> list[str]:
    """Return TensorFlow's registered ops that are not in the list of computing ops."""
    return sorted(registry().keys() - COMPUTING)


@dataclass
class Acting:
    """An op with the attributes and inputs that it needs to run; strings are paths of canaries."""

    op: str
    folder: Path

    def nodes(self, name: str = "act") -> list[NodeDef]:
        """Return the inputs, followed by the op."""
        definition, node = registry()[self.op], NodeDef(name=name, op=self.op)
        for attr in definition.attr:
            if not attr.HasField("default_value") or attr.name in ("output_stream", "debug_urls", "vocab_file"):
                self._put(node, attr)
        read: list[NodeDef] = []
        for argument in definition.input_arg:
            for dtype in _types(argument, node, definition):
                read.append(self._source(f"{name}/in{len(read)}", dtype + REFERENCE * argument.is_ref, len(read)))
                node.input.append(read[-1].name)
        return [*read, node]

    def _put(self, node: NodeDef, attr: Any) -> None:
        """Set a required attribute of a node."""
        kind, least, value = attr.type, attr.minimum, node.attr[attr.name]
        path = f"file://{self.folder}/canary_attr" if attr.name in ("output_stream", "debug_urls") else ""
        text = (path or f"{self.folder}/canary").encode()
        allowed = attr.allowed_values.list
        match kind:
            case "type":
                value.type = FLOAT if FLOAT in allowed.type or not allowed.type else allowed.type[0]
            case "int":
                value.i = max(1, least)
            case "float":
                value.f = 1.0
            case "bool":
                value.b = False
            case "string":
                value.s = allowed.s[0] if allowed.s else text
            case "shape":
                value.shape.SetInParent()
            case "tensor":
                value.tensor.dtype = FLOAT
                value.tensor.tensor_shape.SetInParent()
            case "func":
                value.func.name = "other"
            case "list(type)":
                value.list.type.extend([FLOAT] * max(1, least))
            case "list(int)":
                value.list.i.extend([1] * max(1, least))
            case "list(string)":
                value.list.s.extend([text] * max(1, least))
            case "list(shape)":
                for _ in range(max(1, least)):
                    value.list.shape.add()
            case "list(func)":
                value.list.func.add(name="other")
            case _:
                value.list.SetInParent()

    def _source(self, name: str, dtype: Any, number: int) -> NodeDef:
        """Return a node for an input: a path, a number, or a placeholder for other types."""
        if dtype == STRING:
            return text(name, f"{self.folder}/canary{'_new' * (number % 2)}".encode())
        if dtype > REFERENCE:
            node = NodeDef(name=name, op="VariableV2")
            node.attr["dtype"].type = dtype - REFERENCE
            node.attr["shape"].shape.SetInParent()
            return node
        if dtype in (RESOURCE, VARIANT):
            node = NodeDef(name=name, op="Placeholder")
            node.attr["dtype"].type = dtype
            return node
        node = NodeDef(name=name, op="Const")
        node.attr["dtype"].type = node.attr["value"].tensor.dtype = dtype
        node.attr["value"].tensor.tensor_shape.SetInParent()
        return node


def _types(argument: Any, node: NodeDef, definition: Any) -> list[Any]:
    """Return the dtypes of an argument's inputs."""
    defaults = {attr.name: attr.default_value for attr in definition.attr}

    def of(name: str) -> Any:
        return node.attr[name] if name in node.attr else defaults[name]

    if argument.type_list_attr:
        return list(of(argument.type_list_attr).list.type)
    count = of(argument.number_attr).i if argument.number_attr else 1
    return [of(argument.type_attr).type if argument.type_attr else argument.type] * count


def text(name: str, value: bytes) -> NodeDef:
    """Return a string constant."""
    node = NodeDef(name=name, op="Const")
    node.attr["dtype"].type = node.attr["value"].tensor.dtype = STRING
    node.attr["value"].tensor.tensor_shape.SetInParent()
    node.attr["value"].tensor.string_val.append(value)
    return node


def function(name: str, *nodes: NodeDef) -> FunctionDef:
    """Return a function without arguments, with its last op as control output."""
    made = FunctionDef(node_def=nodes)
    made.signature.name = name
    made.signature.control_output.append("done")
    made.control_ret["done"] = nodes[-1].name
    return made


def _called(meta: MetaGraphDef, acting: Acting, place: str) -> list[NodeDef]:
    """Return an op that calls a function with the acting op, and add the function to the graph's library."""
    call, keys = CALLS[place]
    node, library = NodeDef(name="act", op=call), meta.graph_def.library
    for key in keys:
        if key == "branches":
            node.attr[key].list.func.add(name="other")
            node.attr[key].list.func.add(name="body")
        else:
            first = {"gradient": "other", "three calls deep": "outer"}.get(place, "body")
            node.attr[key].func.name = first if key == keys[0] else "other"
    library.function.extend([function("body", *acting.nodes())])
    if place == "gradient":
        library.gradient.add(function_name="other", gradient_func="body")
    if place == "three calls deep":
        inner = NodeDef(name="in", op="StatefulPartitionedCall")
        inner.attr["f"].func.name = "body"
        library.function.extend([function("middle", inner), function("outer", NodeDef(name="m", op="middle"))])
    return [node]


def _cond(acting: Acting) -> list[NodeDef]:
    """Return a TensorFlow 1 conditional on a variable, which is False, but which a checkpoint could set to True."""
    handle, read = NodeDef(name="steer", op="VarHandleOp"), NodeDef(name="steer/read", op="ReadVariableOp")
    handle.attr["dtype"].type = read.attr["dtype"].type = BOOL
    handle.attr["shape"].shape.SetInParent()
    handle.attr["shared_name"].s = b"steer"
    read.input.append("steer")
    value = acting._source("value", FLOAT, 0)
    switch, side = NodeDef(name="switch", op="Switch", input=["value", "steer/read"]), NodeDef(name="s", op="Identity")
    side.input.append("switch:1")
    merge = NodeDef(name="merged", op="Merge", input=["switch", "taken"])
    taken = NodeDef(name="taken", op="Identity", input=["s", "^act"])
    for node in (switch, side, taken, merge):
        node.attr["T"].type = FLOAT
    merge.attr["N"].i = 2
    act = acting.nodes()
    act[-1].input.append("^s")
    return [handle, read, value, switch, side, *act, taken, merge]


def placed(template: MetaGraphDef, op: str, place: str, folder: Path) -> MetaGraphDef:
    """Return a graph with an op in a place."""
    meta, acting = MetaGraphDef(), Acting(op, folder)
    meta.CopyFrom(template)
    meta.graph_def.library.function.extend([function("other", NodeDef(name="x", op="NoOp"))])
    place = place.removeprefix(f"{SERVED} ")
    nodes = _called(meta, acting, place) if place in CALLS else _cond(acting) if place == "cond" else acting.nodes()
    meta.graph_def.node.extend(nodes)
    waits = {
        "update_ops": (),
        "main_op": (),
        "table": (),
        "signature": (),
        "train_op": ("GradientDescent",),
        "initialiser": ("hidden1/kernel/Assign", "hidden1/kernel/Initializer/random_uniform"),
        "saver": ("save/SaveV2", "save/RestoreV2", "save/restore_all"),
    }.get(place, ("hidden1/Relu", "outputs/logits"))
    for node in meta.graph_def.node:
        if node.name in waits:
            node.input.append(f"^{nodes[-1].name}")
    collections = {"update_ops": ["update_ops", "train_op"], "main_op": ["saved_model_main_op", "legacy_init_op"]}
    for key in collections.get(place, ["table_initializer"] if place == "table" else []):
        meta.collection_def[key].node_list.value.append("act")
    if place == "signature":
        meta.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "act:0"
    return meta


def write(templates: dict[str, MetaGraphDef], op: str, place: str, folder: Path) -> None:
    """Write a model with its canary to a folder that contains the weights."""
    family = SERVED if place.startswith(SERVED) else PREFIX
    meta = placed(templates[family], op, place, folder)
    if family == SERVED:
        message = SavedModel(saved_model_schema_version=1, meta_graphs=[meta])
        (folder / SERVED / "saved_model.pb").write_bytes(message.SerializeToString())
    else:
        (folder / f"{PREFIX}.meta").write_bytes(meta.SerializeToString())
    (folder / "canary").write_text("secret")


def harmless(folder: Path, run: Callable[[str], object]) -> dict[str, MetaGraphDef]:
    """Write a network 4-5-3 in two families, weights and rows; return its graphs. `run` runs a command there."""
    import tensorflow as tf

    tf1, chance = tf.compat.v1, np.random.default_rng(0)
    with tf1.Graph().as_default() as graph:
        x, y = tf1.placeholder(tf.float32, (None, 4), name="X"), tf1.placeholder(tf.int32, (None,), name="y")
        with tf1.variable_scope("hidden1"):
            kernel = tf1.get_variable("kernel", (4, 5), use_resource=True)
            hidden = tf.nn.relu(x @ kernel, name="Relu")
        with tf1.variable_scope("outputs"):
            logits = tf.matmul(hidden, tf1.get_variable("kernel", (5, 3), use_resource=False), name="logits")
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss/loss")
        tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
        saver = tf1.train.Saver()
        written = tf1.train.export_meta_graph(graph=graph, saver_def=saver.saver_def).SerializeToString()
    weights: dict[str, Any] = {name: chance.random(shape).astype("f") for name, shape in SHAPES.items()}
    checkpoint.save({**weights, "steer": np.zeros((), bool)}, folder / PREFIX)
    (folder / f"{PREFIX}.meta").write_bytes(written)
    rows = chance.random((60, 4)).astype("f")
    labels = np.arange(60, dtype="i4") % 3
    np.savez(folder / "data.npz", x_train=rows, y_train=labels, x_valid=rows[:30], y_valid=labels[:30])
    np.savez(folder / "weights.npz", **weights)
    np.savez(folder / "sample.npz", X=rows[:2], outputs=np.ones((2, 3), "f"))
    for part in folder.glob(f"{PREFIX}.*"):
        shutil.copy(part, part.with_name(part.name.replace(PREFIX, BESIDE_IT)))
    run(f"export-saved-model {PREFIX} -o {SERVED}")
    served = SavedModel.FromString((folder / SERVED / "saved_model.pb").read_bytes())
    return {PREFIX: MetaGraphDef.FromString(written), SERVED: served.meta_graphs[0]}
