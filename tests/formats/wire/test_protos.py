"""Our messages are subsets of TensorFlow's: equal numbers, types and names, and nothing is lost in copies."""

import subprocess
import sys

import pytest

from ckpttool.formats.wire.protos import bundle_pb2, graph_pb2, meta_graph_pb2, onnx_pb2, saved_slices_pb2

OURS = (graph_pb2, meta_graph_pb2, bundle_pb2, saved_slices_pb2)
BY_BYTES = "SliceValues"
"""TensorFlow's TensorProto, with the bytes of packed numbers in place of the numbers."""
OWN = ("graph_sha256",)
"""Fields that TensorFlow does not have, and skips."""


def messages_of(file):
    """Yield every message descriptor of a file, including nested ones."""
    todo = list(file.DESCRIPTOR.message_types_by_name.values())
    while todo:
        message = todo.pop()
        yield message
        todo.extend(message.nested_types)


def enums_of(file):
    yield from file.DESCRIPTOR.enum_types_by_name.values()
    for message in messages_of(file):
        yield from message.enum_types


def named_by_tensorflow(full_name):
    return full_name.replace("ckpttool.wire.", "tensorflow.").replace(BY_BYTES, "TensorProto")


def theirs(full_name):
    """Return the descriptor of TensorFlow's message or enum with the same name."""
    import tensorflow as tf
    from google.protobuf import descriptor_pool
    from tensorflow.core.protobuf import saved_object_graph_pb2, tensor_bundle_pb2  # these join the pool on import
    from tensorflow.core.util import saved_tensor_slice_pb2

    assert tf and saved_object_graph_pb2 and tensor_bundle_pb2 and saved_tensor_slice_pb2
    pool, name = descriptor_pool.Default(), named_by_tensorflow(full_name)
    try:
        return pool.FindMessageTypeByName(name)
    except KeyError:
        return pool.FindEnumTypeByName(name)


def shape_of(field):
    """Return a field's form on the wire: whether it is repeated and packed is in the descriptor's own message."""
    from google.protobuf.descriptor_pb2 import DescriptorProto

    parent = DescriptorProto()
    field.containing_type.CopyToProto(parent)
    proto = next(each for each in parent.field if each.name == field.name)
    kind = named_by_tensorflow(proto.type_name.removeprefix("."))
    oneof = field.containing_oneof is not None  # its name is not on the wire
    packed = getattr(field, "is_packed", proto.options.packed)  # protobuf 4 does not show what the syntax implies
    return field.number, proto.type, proto.label, kind, oneof, packed


@pytest.mark.parametrize("message", [m for file in OURS for m in messages_of(file)], ids=lambda m: m.full_name)
def test_every_field_is_tensorflows(message):
    fields = theirs(message.full_name).fields_by_name
    if message.name == BY_BYTES:
        assert {f.name: f.number for f in message.fields}.items() <= {n: f.number for n, f in fields.items()}.items()
        return

    shared = [field for field in message.fields if field.name not in OWN]
    assert {f.name: shape_of(f) for f in shared} == {f.name: shape_of(fields[f.name]) for f in shared}
    assert not {f.number for f in message.fields if f.name in OWN} & {f.number for f in fields.values()}


@pytest.mark.parametrize("enum", [e for file in OURS for e in enums_of(file)], ids=lambda e: e.full_name)
def test_every_enum_is_tensorflows(enum):
    numbers = {value.name: value.number for value in enum.values}
    their_numbers = {value.name: value.number for value in theirs(enum.full_name).values}

    assert numbers == {name: their_numbers[name] for name in numbers}


def test_they_can_be_imported_after_tensorflow_too():
    """Every command imports them before it."""
    lines = [
        "import sys",
        "sys.modules['keras.src.optimizers'] = None",  # Keras, which TensorFlow imports last, takes as long again
        "import tensorflow",
        "from ckpttool.formats.wire.protos import bundle_pb2, graph_pb2, meta_graph_pb2",
        "assert meta_graph_pb2.MetaGraphDef() is not None and tensorflow.compat.v1.MetaGraphDef() is not None",
    ]

    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()[-2000:]


def test_fields_that_are_not_ours_survive():
    from tensorflow.core.protobuf import meta_graph_pb2 as tensorflow_meta

    theirs = tensorflow_meta.MetaGraphDef()
    theirs.object_graph_def.nodes.add().user_object.identifier = "model"
    node = theirs.graph_def.node.add(name="a", op="Const")
    node.attr["value"].tensor.variant_val.add(type_name="v")
    theirs.graph_def.debug_info.files.append("model.py")

    ours = meta_graph_pb2.MetaGraphDef.FromString(theirs.SerializeToString())
    assert tensorflow_meta.MetaGraphDef.FromString(ours.SerializeToString()) == theirs

    copy = meta_graph_pb2.MetaGraphDef()
    copy.CopyFrom(ours)
    assert tensorflow_meta.MetaGraphDef.FromString(copy.SerializeToString()) == theirs


@pytest.mark.parametrize("message", list(messages_of(onnx_pb2)), ids=lambda m: m.full_name)
def test_every_field_of_onnx_is_its_own(message):
    import onnx

    theirs = onnx.TensorProto.Segment if message.name == "Segment" else getattr(onnx, message.name)
    for field in message.fields:
        their = theirs.DESCRIPTOR.fields_by_name[field.name]
        if field.enum_type is None:
            assert shape_of(field)[:3] == shape_of(their)[:3]
        else:  # theirs is a plain number
            assert field.number == their.number
            numbers = {value.name: value.number for value in field.enum_type.values}
            assert numbers == dict(onnx.TensorProto.DataLocation.items())
