"""Caffe files, written with protobuf and the part of caffe.proto that has the blobs."""

from functools import cache

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELDS = {
    "BlobShape": "dim=1*int64!",
    "BlobProto": "num=1int32 channels=2int32 height=3int32 width=4int32 data=5*float! diff=6*float! shape=7BlobShape "
    "double_data=8*double! raw_type=10int32 raw_data=12bytes",
    "BatchNorm": "moving_average_fraction=2float eps=3float",
    "InnerProduct": "num_output=1uint32 transpose=6bool",
    "Layer": "name=1string type=2string bottom=3*string top=4*string blobs=7*BlobProto "
    "inner_product_param=117InnerProduct batch_norm_param=139BatchNorm",
    "V0Layer": "name=1string type=2string blobs=50*BlobProto",
    "V1Layer": "layer=1V0Layer bottom=2*string top=3*string name=4string type=5int32 blobs=6*BlobProto",
    "Net": "name=1string layers=2*V1Layer input=3*string input_dim=4*int32 layer=100*Layer",
}
"""The messages: a field's number, `*` if repeated, its type, `!` if packed."""


@cache
def messages():
    file = descriptor_pb2.FileDescriptorProto(name="caffe_of_the_tests.proto", package="caffe_of_the_tests")
    for name, fields in FIELDS.items():
        message = file.message_type.add(name=name)
        for key, said in (field.split("=") for field in fields.split()):
            number = said[: len(said) - len(said.lstrip("0123456789"))]
            kind = said.lstrip("0123456789").strip("*!")
            made = message.field.add(name=key, number=int(number), label=3 if "*" in said else 1)
            if kind in FIELDS:
                made.type, made.type_name = made.TYPE_MESSAGE, f".{file.package}.{kind}"
            else:
                made.type = getattr(made, f"TYPE_{kind.upper()}")
            if "!" in said:
                made.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    # Protobuf 4.21, the oldest supported version, has message classes only in a factory.
    made = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return {name: made(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in FIELDS}


def blob(array, legacy=False):
    """Return a blob; with `legacy` its shape has four sizes, as in Caffe before 2015."""
    made = messages()["BlobProto"]()
    if legacy:
        sizes = (1,) * (4 - array.ndim) + array.shape
        made.num, made.channels, made.height, made.width = sizes
    else:
        made.shape.dim.extend(array.shape)
    if array.dtype == np.float16:
        made.raw_type, made.raw_data = 2, array.tobytes()
    else:
        (made.double_data if array.dtype == np.float64 else made.data).extend(array.ravel().tolist())
    return made


def net(name="net", **layers):
    """Return a network of layers, each given as a type and its arrays."""
    made = messages()["Net"](name=name)
    for key, (kind, *arrays) in layers.items():
        made.layer.add(name=key, type=kind).blobs.extend(map(blob, arrays))
    return made


def of_tensors(tensors):
    """Return a file with a layer for each tensor."""
    made = messages()["Net"](name="net")
    for name, tensor in tensors.items():
        made.layer.add(name=name, type="Scale").blobs.append(blob(tensor.read()))
    return made.SerializeToString()
