"""The formats' own libraries: each writes a file of tensors, and reads one, as its users do.

A referee has a list of the dtypes that its library supports; `named` is the ckpttool name of a tensor in its file.
"""

import json
import warnings

import caffe_files
import darknet_files
import gguf
import h5py
import msgpack
import numpy as np
import onnx
import safetensors.torch
import tensorstore
import tflite_files
import torch
import torch.distributed.checkpoint as dcp
import zarr
from onnx import helper, numpy_helper

from ckpttool import checkpoint
from ckpttool.core.dtypes import DTYPES, STRING
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import PLAIN, Writing

QUANTISED = {dtype.name for dtype in DTYPES if dtype.name.startswith("q")}
NUMPYS_OWN = {dtype.name for dtype in DTYPES if dtype.name == dtype.numpy_name}
NARROW = {"bfloat16", "float8_e4m3fn", "float8_e5m2"}
PACKED = {"int4", "uint4"}
INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
NUMBERS = NUMPYS_OWN | NARROW


def in_torch(array):
    raw = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.uint8) if array.nbytes else torch.empty(0)
    dtype = getattr(torch, array.dtype.name)
    return (raw.view(dtype) if array.nbytes else raw.to(dtype)).reshape(array.shape)


def of_torch(tensor, dtype):
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy() if tensor.numel() else np.empty(0, np.uint8)
    return raw.view(dtype.numpy).reshape(tuple(tensor.shape))


def in_tensorflow(dtype, array):
    import tensorflow as tf

    if dtype.name in QUANTISED:
        return tf.bitcast(tf.constant(array), tf.dtypes.DType(dtype.number))
    return tf.constant(array, tf.dtypes.DType(dtype.number), shape=array.shape)


def of_tensorflow(value, tensor):
    import tensorflow as tf

    if tensor.dtype.name in QUANTISED:
        value = tf.bitcast(value, tf.as_dtype(tensor.dtype.numpy_name))
    return as_read(value.numpy(), tensor)


class Referee:
    suffix = ""
    dtypes: set[str] = NUMPYS_OWN
    reads = True
    """Whether it reads our files: not for formats that are not written here."""

    def named(self, name):
        return name

    def save(self, target, tensors, path, how=PLAIN):
        """Write a file of ours; a format whose outputs are edited copies starts from one of zeros."""
        target.save({self.named(name): tensor for name, tensor in tensors.items()}, path, how)

    def write(self, path, tensors):
        raise NotImplementedError

    def read(self, path, tensors):
        raise NotImplementedError


class TensorFlow(Referee):
    dtypes = NUMBERS | PACKED | QUANTISED | {"string"}

    def write(self, path, tensors):
        import tensorflow as tf

        values = [in_tensorflow(tensor.dtype, tensor.read()) for tensor in tensors.values()]
        tf.raw_ops.SaveV2(
            prefix=str(path), tensor_names=list(tensors), shape_and_slices=[""] * len(values), tensors=values
        )

    def read(self, path, tensors):
        import tensorflow as tf

        dtypes = [tf.dtypes.DType(tensor.dtype.number) for tensor in tensors.values()]
        found = tf.raw_ops.RestoreV2(
            prefix=str(path), tensor_names=list(tensors), shape_and_slices=[""] * len(dtypes), dtypes=dtypes
        )
        return {name: of_tensorflow(value, tensors[name]) for name, value in zip(tensors, found, strict=True)}


class Version1(TensorFlow):
    suffix = ".v1"
    reads = False
    dtypes = (NUMPYS_OWN | QUANTISED | {"string"}) - {"uint32", "uint64", "qint16", "quint16"}

    def write(self, path, tensors):
        import tensorflow as tf

        values = [in_tensorflow(tensor.dtype, tensor.read()) for tensor in tensors.values()]
        tf.raw_ops.Save(filename=str(path), tensor_names=list(tensors), data=values)


class Objects(Referee):
    dtypes = NUMBERS | PACKED | {"string"}

    def module(self, tensors, zeros=False):
        import tensorflow as tf

        module = tf.Module()
        values = {name: in_tensorflow(t.dtype, blank(t) if zeros else t.read()) for name, t in tensors.items()}
        module.all = [tf.Variable(value, name=name) for name, value in values.items()]
        return module

    def write(self, path, tensors):
        import tensorflow as tf

        tf.train.Checkpoint(module=self.module(tensors)).write(str(path))

    def save(self, target, tensors, path, how=PLAIN):
        import tensorflow as tf

        place = path.with_name("like")
        tf.train.Checkpoint(module=self.module(tensors, zeros=True)).write(str(place))
        super().save(target, dict(checkpoint.open(place)) | tensors, path, how)

    def read(self, path, tensors):
        import tensorflow as tf

        module = self.module(tensors, zeros=True)
        tf.train.Checkpoint(module=module).read(str(path)).assert_consumed()
        return {name: as_read(variable.numpy(), tensors[name]) for name, variable in by_name(module)}


def by_name(module):
    return ((variable.name.removesuffix(":0"), variable) for variable in module.all)


def blank(tensor):
    return np.full(tensor.shape, b"" if tensor.dtype is STRING else 0, tensor.dtype.numpy)


class SavedModels(Objects):
    def write(self, path, tensors):
        import tensorflow as tf

        tf.saved_model.save(self.module(tensors), str(path))

    def save(self, target, tensors, path, how=PLAIN):
        import tensorflow as tf

        place = path.with_name("like")
        tf.saved_model.save(self.module(tensors, zeros=True), str(place))
        target.save(dict(checkpoint.open(place)) | tensors, path, Writing(like=place))

    def read(self, path, tensors):
        import tensorflow as tf

        loaded = tf.saved_model.load(str(path))
        return {name: as_read(variable.numpy(), tensors[name]) for name, variable in by_name(loaded)}


class Keras(Referee):
    suffix = ".weights.h5"
    dtypes = {"float16", "float32", "float64", "bfloat16", "bool"} | INTEGERS

    def named(self, name):
        return f"{name}/0"

    def model(self, tensors):
        from ckpttool.runtime.configure import tensorflow

        tensorflow()
        import keras

        @keras.saving.register_keras_serializable("table")
        class One(keras.layers.Layer):
            """A layer with one weight, without any computation."""

            def __init__(self, size=(), kind="float32", **options):
                super().__init__(**options)
                self.size, self.kind = tuple(size), kind
                self.w = self.add_weight(shape=self.size, dtype=kind, initializer="zeros", trainable=False)

            def call(self, x):
                return x

            def get_config(self):
                return super().get_config() | {"size": self.size, "kind": self.kind}

        x = y = keras.Input((1,))
        for name, tensor in tensors.items():
            y = One(tensor.shape, tensor.dtype.name, name=name)(y)
        return keras.Model(x, y)

    def filled(self, tensors):
        model = self.model(tensors)
        for name, tensor in tensors.items():
            model.get_layer(name).w.assign(tensor.read())
        return model

    def write(self, path, tensors):
        self.filled(tensors).save_weights(path)

    def save(self, target, tensors, path, how=PLAIN):
        place = path.with_name(f"like{self.suffix}")
        self.model(tensors).save_weights(place)
        super().save(target, tensors, path, Writing(like=place))

    def read(self, path, tensors):
        model = self.model(tensors)
        model.load_weights(path)
        return {name: np.asarray(model.get_layer(name).w) for name in tensors}


class KerasArchives(Keras):
    suffix = ".keras"

    def write(self, path, tensors):
        self.filled(tensors).save(path)

    def save(self, target, tensors, path, how=PLAIN):
        place = path.with_name(f"like{self.suffix}")
        self.model(tensors).save(place)
        Referee.save(self, target, tensors, path, Writing(like=place))

    def read(self, path, tensors):
        import keras

        model = keras.models.load_model(path)
        return {name: np.asarray(model.get_layer(name).w) for name in tensors}


class LegacyKeras(Keras):
    """The layout of Keras 1 and 2, which Keras 3 reads, and writes for few layers: h5py writes it here."""

    suffix = ".h5"
    dtypes = Keras.dtypes - {"bfloat16"}

    def named(self, name):
        return f"{name}/kernel"

    def write(self, path, tensors):
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [name.encode() for name in tensors]
            for name, tensor in tensors.items():
                file.create_group(name).attrs["weight_names"] = [b"kernel:0"]
                file[name].create_dataset("kernel:0", data=tensor.read())

    def save(self, target, tensors, path, how=PLAIN):
        place = path.with_name(f"like{self.suffix}")
        self.write(place, {name: Tensor.of(name, blank(tensor), tensor.dtype) for name, tensor in tensors.items()})
        Referee.save(self, target, tensors, path, Writing(like=place))


class Trees(Referee):
    suffix = ".h5"
    dtypes = NUMPYS_OWN | {"string"}

    def write(self, path, tensors):
        with h5py.File(path, "w") as file:
            for name, tensor in tensors.items():
                file.create_dataset(
                    name, data=tensor.read(), dtype=h5py.string_dtype() if tensor.dtype is STRING else None
                )

    def read(self, path, tensors):
        with h5py.File(path) as file:
            return {name: as_read(file[name][()], tensors[name]) for name in tensors}


class NumPys(Referee):
    suffix = ".npz"
    dtypes = NUMPYS_OWN | {"string"}

    def write(self, path, tensors):
        np.savez(path, **{name: plain(tensor) for name, tensor in tensors.items()})

    def read(self, path, tensors):
        with np.load(path, allow_pickle=False) as found:
            return {name: as_read(found[name], tensors[name]) for name in tensors}


def as_read(found, tensor):
    """Return a library's values; for strings it has several forms."""
    return np.asarray(found, object) if tensor.dtype is STRING else np.asarray(found)


def plain(tensor):
    return tensor.read().astype("S") if tensor.dtype is STRING else tensor.read()


class NumPyFolders(NumPys):
    suffix = ""
    reads = False

    def write(self, path, tensors):
        path.mkdir()
        for name, tensor in tensors.items():
            np.save(path / f"{name}.npy", plain(tensor))


class Safetensors(Referee):
    suffix = ".safetensors"
    dtypes = NUMBERS - {"complex128"}

    def write(self, path, tensors):
        safetensors.torch.save_file({name: in_torch(tensor.read()) for name, tensor in tensors.items()}, path)

    def read(self, path, tensors):
        found = {}
        for file in [path] if path.is_file() else path.parent.glob(f"{path.stem}-*{self.suffix}"):
            found |= safetensors.torch.load_file(file)
        return {name: of_torch(tensor, tensors[name].dtype) for name, tensor in found.items()}


class Torch(Referee):
    suffix = ".pt"
    dtypes = NUMBERS
    reads = False

    def write(self, path, tensors):
        torch.save({name: in_torch(tensor.read()) for name, tensor in tensors.items()}, path)


class TorchFolders(Referee):
    suffix = ""
    dtypes = NUMBERS
    reads = False

    def write(self, path, tensors):
        state = {name: in_torch(tensor.read()) for name, tensor in tensors.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # written by a single process
            dcp.save(state, checkpoint_id=path, no_dist=True)


class ZeroFolders(Referee):
    """Buffers of any dtype; weights in the form that zero_to_fp32.py reads are in test_zero.py."""

    suffix = ""
    dtypes = NUMBERS
    reads = False

    def write(self, path, tensors):
        path.mkdir()
        module = {name: in_torch(tensor.read()) for name, tensor in tensors.items()}
        said = {"module": module, "buffer_names": list(module), "param_shapes": [{}], "shared_params": {}}
        torch.save(said, path / "mp_rank_00_model_states.pt")
        kept = {"zero_stage": 1, "partition_count": 1, "single_partition_of_fp32_groups": [torch.zeros(0)]}
        torch.save({"optimizer_state_dict": kept}, path / "zero_pp_rank_0_mp_rank_00_optim_states.pt")


class Onnx(Referee):
    suffix = ".onnx"
    dtypes = NUMBERS | PACKED | {"string"}
    reads = False

    def write(self, path, tensors):
        made = [
            helper.make_tensor(name, onnx.TensorProto.STRING, tensor.shape, tensor.read().ravel().tolist())
            if tensor.dtype is STRING
            else numpy_helper.from_array(np.asarray(tensor.read()), name)
            for name, tensor in tensors.items()
        ]
        onnx.save(helper.make_model(helper.make_graph([], "graph", [], [], made)), path)


class Ggufs(Referee):
    suffix = ".gguf"
    dtypes = frozenset({"float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64"})
    reads = False

    def write(self, path, tensors):
        writer = gguf.GGUFWriter(path, "llama")
        for name, tensor in tensors.items():
            raw, kind = np.asarray(tensor.read()), None
            if tensor.dtype.name == "bfloat16":
                raw, kind = raw.view(np.uint16), gguf.GGMLQuantizationType.BF16
            writer.add_tensor(name, raw, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


class FlaxTrees(Referee):
    """The layout of flax/serialization.py by msgpack: fixtures/flax was written by Flax, which requires JAX."""

    suffix = ".msgpack"
    dtypes = NUMBERS | PACKED
    reads = False

    def write(self, path, tensors):
        path.write_bytes(msgpack.packb({name: in_msgpack(tensor.read()) for name, tensor in tensors.items()}))


def in_msgpack(array):
    return msgpack.ExtType(1, msgpack.packb((array.shape, array.dtype.name, array.tobytes())))


class Lites(Referee):
    """With the classes of TensorFlow's schema; its converter's files are in tests/formats/tflite."""

    suffix = ".tflite"
    dtypes = frozenset(tflite_files.NUMBERS)
    reads = False

    def write(self, path, tensors):
        path.write_bytes(tflite_files.of_tensors(tensors))


class Caffes(Referee):
    """With protobuf and caffe.proto: Caffe cannot be installed. OpenCV reads the same files in tests/formats."""

    suffix = ".caffemodel"
    dtypes = frozenset({"float16", "float32"})  # for doubles an empty blob has no type
    reads = False

    def named(self, name):
        return f"{name}/0"

    def write(self, path, tensors):
        path.write_bytes(caffe_files.of_tensors(tensors))


class Darknets(Referee):
    """Shapes are those of layers, none of which is a scalar or empty: tests/formats/darknet uses OpenCV."""

    suffix = ".weights"
    dtypes = frozenset()
    reads = False

    def write(self, path, tensors):
        darknet_files.write(path.parent, darknet_files.network(), darknet_files.numbers(0), path.stem)


class Zarrs(Referee):
    suffix = ".zarr"
    dtypes = NUMPYS_OWN
    reads = False

    def write(self, path, tensors, version=3, **options):
        group = zarr.open_group(path, mode="w", zarr_format=version)
        for name, tensor in tensors.items():
            group.create_array(name, data=np.asarray(tensor.read()), **options)


class Databases(Referee):
    """TensorStore, which Orbax uses: one database of all arrays. Orbax itself wrote fixtures/orbax."""

    suffix = ""
    dtypes = NUMBERS
    reads = False

    def write(self, path, tensors, driver="zarr", **config):
        context = tensorstore.Context({"file_io_sync": False})
        memory = tensorstore.KvStore.open({"driver": "memory"}, context=context).result()
        memory["about"] = b"a key that is of no array"
        for name, tensor in tensors.items():
            spec = {"driver": driver, "kvstore": {"driver": "memory", "path": f"{name}/"}, "create": True}
            array, raw = tensor.read(), {"metadata": {"compressor": None}} if driver == "zarr" else {}
            opened = tensorstore.open({**spec, **raw}, dtype=array.dtype, shape=array.shape, context=context)
            opened.result().write(array).result()
        base = {"driver": "file", "path": f"{path}/"}
        store = {"driver": "ocdbt", "base": base, "config": {"max_inline_value_bytes": 0, **config}}
        with tensorstore.Transaction() as all_at_once:
            place = tensorstore.KvStore.open(store, context=context).result().with_transaction(all_at_once)
            for key in memory.list().result():
                place[key] = memory[key]


class Browsers(Referee):
    """The layout documented by tfjs-core, with NumPy: its package tensorflowjs requires TensorFlow 2.19."""

    suffix = ".json"
    dtypes = NUMPYS_OWN & {"float32", "int32", "bool", "complex64"} | {"string"}

    def write(self, path, tensors):
        weights = [
            {"name": name, "shape": list(tensor.shape), "dtype": tensor.dtype.name} for name, tensor in tensors.items()
        ]
        raw = b"".join(map(browser_bytes, tensors.values()))
        half = len(raw) // 2
        (path.parent / "group1-shard1of2.bin").write_bytes(raw[:half])
        (path.parent / "group1-shard2of2.bin").write_bytes(raw[half:])
        manifest = [{"paths": [f"group1-shard{n}of2.bin" for n in (1, 2)], "weights": weights}]
        path.write_text(json.dumps({"format": "layers-model", "modelTopology": {}, "weightsManifest": manifest}))

    def read(self, path, tensors):
        found = {}
        for group in json.loads(path.read_text())["weightsManifest"]:
            raw = b"".join((path.parent / file).read_bytes() for file in group["paths"])
            for weight in group["weights"]:
                found[weight["name"]], raw = of_browser(raw, weight["shape"], weight["dtype"])
            assert not raw
        return found


def of_browser(raw, shape, dtype):
    if dtype == "string":
        texts = []
        for _ in range(int(np.prod(shape))):
            size = int.from_bytes(raw[:4], "little")
            texts, raw = [*texts, raw[4 : 4 + size]], raw[4 + size :]
        return np.array(texts, object).reshape(shape), raw
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(raw[:size], dtype).reshape(shape), raw[size:]


def browser_bytes(tensor):
    if tensor.dtype is STRING:
        return b"".join(len(text).to_bytes(4, "little") + text for text in tensor.read().ravel().tolist())
    return tensor.read().tobytes()


class FrozenGraphs(Referee):
    suffix = ".pb"
    dtypes = NUMBERS | PACKED | {"string"}
    reads = False

    def write(self, path, tensors):
        import tensorflow as tf

        with tf.Graph().as_default() as graph:
            for name, tensor in tensors.items():
                dtype = tf.dtypes.DType(tensor.dtype.number)
                value = tf.constant(tensor.read(), dtype, shape=tensor.shape, name=name)
                tf.identity(value, name=f"{name}/read")
        path.write_bytes(graph.as_graph_def().SerializeToString())


REFEREES = {
    "saved-model": SavedModels(),
    "object": Objects(),
    "bundle": TensorFlow(),
    "v1": Version1(),
    "safetensors": Safetensors(),
    "torch-distributed": TorchFolders(),
    "torch": Torch(),
    "torch-zero": ZeroFolders(),
    "npz": NumPys(),
    "npy": NumPyFolders(),
    "keras": KerasArchives(),
    "keras-weights": Keras(),
    "keras-legacy": LegacyKeras(),
    "hdf5": Trees(),
    "onnx": Onnx(),
    "gguf": Ggufs(),
    "flax": FlaxTrees(),
    "orbax": Databases(),
    "zarr": Zarrs(),
    "tfjs": Browsers(),
    "tflite": Lites(),
    "caffe": Caffes(),
    "darknet": Darknets(),
    "frozen": FrozenGraphs(),
}
