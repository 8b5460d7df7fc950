"""TensorFlow Lite files, written with TensorFlow's classes of the schema, which only need flatbuffers."""

import importlib.util
from functools import cache
from pathlib import Path

import flatbuffers
import numpy as np

from ckpttool.core.dtypes import STRING
from ckpttool.formats.tflite.format import TYPES

NUMBERS = {name: number for number, name in TYPES.items()}


@cache
def schema():
    """Return TensorFlow's module of these classes, without importing TensorFlow."""
    folders = map(Path, importlib.util.find_spec("tensorflow").submodule_search_locations)
    place = next(file for each in folders if (file := each / "lite/python/schema_py_generated.py").exists())
    spec = importlib.util.spec_from_file_location("schema_py_generated", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(array, dtype):
    """Return the bytes of an array in TensorFlow Lite's layout."""
    if dtype is STRING:
        texts = array.ravel().tolist()
        places = np.cumsum([4 * (len(texts) + 2), *map(len, texts)], dtype=np.int32)
        return np.int32(len(texts)).tobytes() + places.tobytes() + b"".join(texts)
    if dtype.name in ("int4", "uint4"):
        codes = array.ravel().astype(np.int8).view(np.uint8) & 15
        codes = np.append(codes, np.zeros(len(codes) % 2, np.uint8))
        return (codes[::2] | codes[1::2] << 4).tobytes()
    return array.tobytes()


def tensor(name, shape, kind, buffer, scales=(), zeros=(), axis=0):
    made = schema().TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), kind, buffer
    if len(scales):
        made.quantization = schema().QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = list(scales), list(zeros)
        made.quantization.quantizedDimension = axis
    return made


def buffer(data=None):
    made = schema().BufferT()
    made.data = None if data is None else np.frombuffer(data, np.uint8)
    return made


def model(tensors, buffers, **texts):
    made, graph = schema().ModelT(), schema().SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [], [], []
    made.version, made.subgraphs, made.operatorCodes = 3, [graph], []
    made.buffers = [buffer(), *buffers]
    for key, value in texts.items():
        setattr(made, key, value)
    return made


def packed(made):
    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def of_tensors(tensors, **texts):
    """Return a file of constants."""
    listed = [
        tensor(name, each.shape, NUMBERS[each.dtype.name], n + 1) for n, (name, each) in enumerate(tensors.items())
    ]
    return packed(model(listed, [buffer(stored(each.read(), each.dtype)) for each in tensors.values()], **texts))
