"""A network as written by TensorFlow Lite's converter, with floats and with codes, and as read by its interpreter.

It runs in its own process: `tf.lite` registers ops that no TensorFlow graph has. Argument: the folder.
"""

import sys
import warnings
from pathlib import Path

import numpy as np


def main(folder: Path) -> None:
    import tensorflow as tf

    chance = np.random.default_rng(0)

    class Net(tf.Module):
        kernel = tf.constant(chance.normal(size=(3, 3, 3, 8)), tf.float32)
        matrix = tf.constant(chance.normal(size=(512, 10)), tf.float32)

        @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3))])
        def __call__(self, rows):
            image = tf.nn.relu(tf.nn.conv2d(rows, self.kernel, 1, "SAME") + 0.5)
            return tf.matmul(tf.reshape(image, (1, 512)), self.matrix)

    net = Net()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([net.__call__.get_concrete_function()], net)
    (folder / "float.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([chance.normal(size=(1, 8, 8, 3)).astype("f4")] for _ in range(3))
    (folder / "int8.tflite").write_bytes(converter.convert())
    np.save(folder / "kernel.npy", net.kernel.numpy())
    for name in ("float", "int8"):
        np.savez(folder / f"{name}.npz", **interpreted(tf, folder / f"{name}.tflite"))


def interpreted(tf, path):
    """Return the interpreter's tensors, dequantised according to its documentation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is moved to another package
        interpreter = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    found = {}
    for each in interpreter.get_tensor_details():
        try:
            value, how = interpreter.get_tensor(each["index"]), each["quantization_parameters"]
        except ValueError:  # one that is computed, not stored
            continue
        if len(how["scales"]):
            shape = [-1 if axis == how["quantized_dimension"] else 1 for axis in range(value.ndim)]
            shape = shape if len(how["scales"]) > 1 else ()
            zeros = how["zero_points"].reshape(shape)
            value = (value.astype(np.int64) - zeros).astype(np.float32) * how["scales"].reshape(shape)
        found[each["name"]] = value
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
