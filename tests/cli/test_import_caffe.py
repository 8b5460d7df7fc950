"""Caffe blobs, in the HDF5 file written by Net::ToHDF5, into a graph with tf.layers' names, and back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.nn import functional

from ckpttool import checkpoint
from ckpttool.runtime.configure import tensorflow

Blobs = dict[str, list[np.ndarray]]


def blobs() -> Blobs:
    """Convolutions with normalisations of two layers: bn_conv1 and scale_conv1, conv2/bn and conv2/scale."""
    rng = np.random.default_rng(1)
    layers = {
        "conv1": [rng.normal(0, 0.2, (6, 3, 3, 3))],
        "bn_conv1": [rng.normal(0, 300, 6), rng.uniform(100, 900, 6), np.array([999.98])],
        "scale_conv1": [rng.uniform(0.5, 1.5, 6), rng.normal(size=6)],
        "relu1": [],
        "conv2": [rng.normal(0, 0.2, (4, 6, 3, 3)), rng.normal(size=4)],
        "conv2/bn": [rng.normal(0, 30, 4), rng.uniform(10, 90, 4), np.array([86.2])],
        "conv2/scale": [rng.uniform(0.5, 1.5, 4)],
        "fc": [rng.normal(0, 0.2, (5, 4)), rng.normal(size=5)],
        "fc_norm": [rng.normal(0, 3, 5), rng.uniform(1, 9, 5), np.array([4.1])],
    }
    return {name: [blob.astype(np.float32) for blob in made] for name, made in layers.items()}


def written(path: Path, layers: Blobs) -> Path:
    """Write a group for each layer, even without blobs, and a dataset for each blob, by number."""
    with h5py.File(path, "w") as file:
        for name, made in layers.items():
            group = file.create_group(f"data/{name}")
            for number, blob in enumerate(made):
                group[str(number)] = blob
    return path


def caffe(layers: Blobs, images: np.ndarray) -> np.ndarray:
    """The formulas of Caffe's layers; convolutions and dense layers are PyTorch's, which has Caffe's layouts."""
    x = _scale(_norm(_convolution(images, *layers["conv1"]), *layers["bn_conv1"]), *layers["scale_conv1"])
    x = _convolution(np.maximum(x, 0), *layers["conv2"])
    x = _scale(_norm(x, *layers["conv2/bn"]), *layers["conv2/scale"])
    return _norm(x.mean((2, 3)) @ layers["fc"][0].T + layers["fc"][1], *layers["fc_norm"])


def _convolution(x: np.ndarray, *blobs: np.ndarray) -> np.ndarray:
    return functional.conv2d(torch.from_numpy(x), *map(torch.from_numpy, blobs), padding=1).numpy()


def _norm(x: np.ndarray, mean: np.ndarray, variance: np.ndarray, factor: np.ndarray) -> np.ndarray:
    scale = np.float32(0 if factor[0] == 0 else 1 / factor[0])
    return (x - _channels(mean * scale, x)) / np.sqrt(_channels(variance * scale, x) + np.float32(1e-5))


def _scale(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray | None = None) -> np.ndarray:
    return x * _channels(gamma, x) + (0 if beta is None else _channels(beta, x))


def _channels(vector: np.ndarray, x: np.ndarray) -> np.ndarray:
    return vector.reshape(-1, *[1] * (x.ndim - 2))


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """The same network in TensorFlow 1."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        x = tf1.placeholder(tf1.float32, (None, 8, 8, 3), name="images")
        x = tf1.nn.conv2d(x, tf1.get_variable("conv1/kernel", (3, 3, 3, 6)), 1, "SAME")
        x = tf1.nn.relu(_tf1_norm(tf1, "bn_conv1", x, "gamma", "beta"))
        x = tf1.nn.conv2d(x, tf1.get_variable("conv2/kernel", (3, 3, 6, 4)), 1, "SAME")
        x = _tf1_norm(tf1, "conv2/bn", x + tf1.get_variable("conv2/bias", (4,)), "gamma")
        x = tf1.matmul(tf1.reduce_mean(x, (1, 2)), tf1.get_variable("fc/kernel", (4, 5)))
        tf1.identity(_tf1_norm(tf1, "fc_norm", x + tf1.get_variable("fc/bias", (5,))), name="answer")
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(tmp_path / "graph.meta"))
    return tmp_path / "graph.meta"


def _tf1_norm(tf1: Any, name: str, x: Any, *more: str) -> Any:
    names = ("moving_mean", "moving_variance", *more)
    parts = {part: tf1.get_variable(f"{name}/{part}", (x.shape[-1],)) for part in names}
    mean, variance = parts["moving_mean"], parts["moving_variance"]
    return tf1.nn.batch_normalization(x, mean, variance, parts.get("beta"), parts.get("gamma"), 1e-5)


def answer(prefix: Path, images: np.ndarray) -> Any:
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.train.import_meta_graph(f"{prefix}.meta").restore(session, str(prefix))
        return session.run("answer:0", {"images:0": images.transpose(0, 2, 3, 1)})


def untrained(layers: Blobs) -> Blobs:
    """A factor of 0: the layer's statistics are not used."""
    return {**layers, "conv2/bn": [*layers["conv2/bn"][:2], np.zeros(1, np.float32)]}


@pytest.mark.parametrize("change", [dict, untrained])
def test_a_network_with_batch_norm(shell: Any, graph: Path, tmp_path: Path, change: Callable[[Blobs], Blobs]) -> None:
    layers = change(blobs())
    file, out = written(tmp_path / "net.caffemodel.h5", layers), tmp_path / "out.ckpt"
    said = shell.run("import", file, "--into", graph, "--rules", "caffe", "-o", out).stdout
    together = "data/bn_conv1/0 data/bn_conv1/1 data/bn_conv1/2 data/scale_conv1/0 data/scale_conv1/1"
    assert f"restored from {together} by caffe_batch_norm" in said
    images = np.random.default_rng(2).normal(size=(2, 3, 8, 8)).astype(np.float32)
    expected = caffe(layers, images)
    assert np.abs(answer(out, images) - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_way_back_computes_the_same(shell: Any, graph: Path, tmp_path: Path) -> None:
    """The sums are exported as means, with the factor 1; everything else byte for byte."""
    file, out, back = written(tmp_path / "net.h5", blobs()), tmp_path / "out.ckpt", tmp_path / "back.h5"
    shell.run("import", file, "--into", graph, "--rules", "caffe", "-o", out)
    shell.run("export", out, "--rules", "caffe", "--like", file, "-o", back)
    with h5py.File(back) as read:
        found = {
            name: [read[f"data/{name}/{number}"][()] for number in range(len(old))] for name, old in blobs().items()
        }
    assert [found[name][2].tolist() for name in ("bn_conv1", "conv2/bn", "fc_norm")] == [[1.0]] * 3
    moved = [name for name in found if name not in ("bn_conv1", "conv2/bn", "fc_norm")]
    assert all(found[name][at].tobytes() == old.tobytes() for name in moved for at, old in enumerate(blobs()[name]))
    images = np.random.default_rng(3).normal(size=(2, 3, 8, 8)).astype(np.float32)
    expected = caffe(blobs(), images)
    assert np.abs(caffe(found, images) - expected).max() < 1e-5 * np.abs(expected).max()


def test_three_blobs_of_a_recurrent_layer_are_refused(shell: Any, graph: Path, tmp_path: Path) -> None:
    lstm = [np.zeros(shape, np.float32) for shape in ((20, 3), (20,), (20, 5))]
    file = written(tmp_path / "net.h5", {**blobs(), "fc_norm": lstm})
    line = shell.error("import", file, "--into", graph, "--rules", "caffe", "-o", tmp_path / "out.ckpt")
    assert "caffe_batch_norm: found [20, 3] [20] [20, 5], expected mean [channels]" in line


def test_blobs_of_npz(shell: Any, tmp_path: Path) -> None:
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        images = tf1.placeholder(tf1.float32, (2, 4, 4, 3))
        tf1.nn.conv2d(images, tf1.get_variable("conv1/kernel", (3, 3, 3, 5)), 1, "SAME")
        tf1.get_variable("conv1/bias", (5,))
        tf1.train.export_meta_graph(str(tmp_path / "graph.meta"))
    kernel, bias = np.random.default_rng(1).normal(size=(5, 3, 3, 3)).astype(np.float32), np.ones(5, np.float32)
    np.savez(tmp_path / "caffe.npz", **{"data/conv1/0": kernel, "data/conv1/1": bias})
    out = tmp_path / "out.ckpt"
    shell.run("import", tmp_path / "caffe.npz", "--into", tmp_path / "graph.meta", "--rules", "caffe", "-o", out)
    assert checkpoint.open(out)["conv1/kernel"].read().tolist() == kernel.transpose(2, 3, 1, 0).tolist()
