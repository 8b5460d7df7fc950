"""Preprocessing is part of the model: once given, it is stored, and every command applies it to raw bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Run = Callable[..., str]
LAYERS = "conv1 = conv2d(4, 3, relu); pool = max_pool(2); flat = flatten(); outputs = dense(3)"
FEATURES = "dnn/pool/MaxPool2d"
TUNE = "--epochs 1 --batch-size 20"


def make(folder: Path) -> None:
    """Colour images, as bytes in a file and as images of other sizes in folders."""
    random = np.random.default_rng(5)
    labels = np.arange(120) % 3
    bright = random.integers(0, 90, (120, 8, 8, 3))
    bright[np.arange(120), :, :, labels] += 120
    np.savez(folder / "bytes.npz", x=bright.astype(np.uint8), y=labels)


def features(model: str, rows: Any) -> Any:
    """TensorFlow's own results for rows that are ready to be fed."""
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.train.import_meta_graph(f"{model}.meta").restore(session, model)
        return session.run(f"{FEATURES}:0", {"X:0": rows})


def answer(printed: str) -> Any:
    return json.loads(printed.splitlines()[-1])


def predicted(path: str, name: str = "outputs") -> Any:
    with np.load(path) as arrays:
        return arrays[name]


def test_a_network_for_other_numbers_gets_them_from_bytes(folder: Path, run: Run) -> None:
    from keras.applications.mobilenet_v2 import preprocess_input

    raw = np.load("bytes.npz")["x"]
    run(f"ckpttool new --input 8,8,3 --layers '{LAYERS}' --preprocess 'scale(1/127.5, -1)' -o net.ckpt")
    assert "preprocessing: scale(1/127.5, -1)" in run("ckpttool layers net.ckpt")
    said = run(f"ckpttool predict net.ckpt --data bytes.npz --tensor {FEATURES} -o kept.npz")
    assert "data: x: scale(1/127.5, -1) for the float input X" in said
    expected = features("net.ckpt", preprocess_input(raw.astype(np.float32)))
    np.testing.assert_allclose(predicted("kept.npz"), expected, atol=1e-6)

    other = run(f"ckpttool predict net.ckpt --data bytes.npz --tensor {FEATURES} --preprocess 'keras(caffe)' -o x.npz")
    assert "the preprocessing was scale(1/127.5, -1), now it is keras(caffe)" in other
    assert abs(predicted("x.npz") - expected).max() > 1
    assert "preprocessing: scale(1/127.5, -1)" in run("ckpttool log net.ckpt")


def test_what_a_run_trains_with_is_found_again(folder: Path, run: Run) -> None:
    run(f"ckpttool new --input 8,8,3 --layers '{LAYERS}' -o net.ckpt")
    said = run(f"ckpttool finetune net.ckpt --data bytes.npz --preprocess 'keras(tf)' {TUNE} -o tuned.ckpt")
    assert "data: x: keras(tf) for the float input X" in said
    report = json.loads(Path("tuned.ckpt.run.json").read_text())
    assert report["data"]["preprocess"] == report["options"]["preprocess"] == "keras(tf)"
    loss = report["history"][-1]["valid_loss"]
    judged = run("ckpttool evaluate tuned.ckpt --data bytes.npz --json")
    assert answer(judged)["loss"] == pytest.approx(loss, rel=1e-6)
    run("ckpttool reuse tuned.ckpt --layers conv1 --head 'flat = flatten(); outputs = dense(3)' -o head.ckpt")
    run(f"ckpttool new --input 8,8,3 --layers '{LAYERS}' -o other.ckpt")
    run("ckpttool reuse tuned.ckpt --layers conv1 --into other.ckpt.meta -o into.ckpt")
    run("ckpttool import tuned.ckpt --into other.ckpt --lenient -o imported.ckpt")
    run("ckpttool import tuned.ckpt --into other.ckpt --lenient --preprocess 'bgr()' -o other_way.ckpt")
    assert "preprocessing: bgr()" in run("ckpttool layers other_way.ckpt")
    assert "a GraphDef does not keep preprocessing: keras(tf)" in run("ckpttool fold tuned.ckpt -o frozen.pb")
    run("ckpttool strip tuned.ckpt -o small.ckpt")
    run("ckpttool export-saved-model tuned.ckpt -o served")
    for model in ("head.ckpt", "into.ckpt", "imported.ckpt", "small.ckpt", "served"):
        assert "preprocessing: keras(tf)" in run(f"ckpttool layers {model}"), model


def test_bytes_are_divided_where_nothing_is_said(folder: Path, run: Run) -> None:
    run(f"ckpttool new --input 8,8,3 --layers '{LAYERS}' -o net.ckpt")
    said = run(f"ckpttool finetune net.ckpt --data bytes.npz {TUNE} -o tuned.ckpt")
    assert "x: uint8 divided by 255 for the float input X; --preprocess specifies other steps" in said
    assert "preprocessing" not in run("ckpttool layers net.ckpt")
    assert "preprocessing: scale(1/255)" in run("ckpttool layers tuned.ckpt")
    fractions = np.load("bytes.npz")["x"] / np.float32(255)
    np.savez("fractions.npz", x=fractions, y=np.load("bytes.npz")["y"])
    doubted = run("ckpttool evaluate tuned.ckpt --data fractions.npz --split train --valid 20%")
    assert "x: no number is above 1, but scale(1/255) is for bytes from 0 to 255" in doubted
    advice = doubted.partition("; --preprocess '")[2].partition("'")[0]
    assert advice == "scale(255); scale(1/255)"
    judge = "ckpttool evaluate tuned.ckpt --split train --valid 20% --json"
    raw = answer(run(f"{judge} --data bytes.npz"))
    assert answer(run(f"{judge} --data fractions.npz --preprocess '{advice}'"))["loss"] == pytest.approx(raw["loss"])


def test_rows_of_another_size_and_other_channels(folder: Path, run: Run) -> None:
    run(f"ckpttool new --input 8,8,1 --layers '{LAYERS}' -o grey.ckpt")
    large = np.random.default_rng(1).integers(0, 256, (30, 12, 10, 3)).astype(np.uint8)
    np.savez("large.npz", x=large, y=np.arange(30) % 3)
    refused = run("ckpttool evaluate grey.ckpt --data large.npz", 2)
    assert "x has rows of [12, 10, 3], expected rows of [8, 8, 1] for X" in refused
    advice = refused.partition("; --preprocess '")[2].partition("'")[0]
    assert advice == "resize(8, 8); grayscale(); scale(1/255)"
    assert "loss" in run(f"ckpttool evaluate grey.ckpt --data large.npz --preprocess '{advice}'")


def test_a_server_takes_raw_bytes(folder: Path, run: Run) -> None:
    import tensorflow as tf
    from PIL import Image

    Path("images").mkdir()
    large = np.random.default_rng(1).integers(0, 256, (30, 12, 10, 3)).astype(np.uint8)
    np.savez("large.npz", x=large)
    run(f"ckpttool new --input 8,8,3 --layers '{LAYERS}' --preprocess 'resize(8, 8); keras(torch)' -o net.ckpt")
    run("ckpttool predict net.ckpt --data large.npz -o rows.npz")
    said = run("ckpttool export-saved-model net.ckpt --with-preprocessing -o served")
    assert "X takes raw rows, uint8 [any, any, 3]; the graph does resize(8, 8); keras(torch)" in said
    serve = tf.saved_model.load("served").signatures["serving_default"]
    served = serve(X=tf.constant(large))["logits"].numpy()
    np.testing.assert_allclose(served, predicted("rows.npz", "logits"), atol=1e-5)
    assert "preprocessing: none" in run("ckpttool layers served")
    run("ckpttool predict served --data large.npz -o again.npz")
    np.testing.assert_allclose(predicted("again.npz", "logits"), served, atol=1e-6)

    for number, pixels in enumerate(large):
        Image.fromarray(pixels).resize((10 + number, 12)).save(Path("images") / f"{number:02}.png")
    run("ckpttool predict net.ckpt --data images -o images.npz")
    read = [np.asarray(Image.open(path)) for path in sorted(Path("images").iterdir())]
    served = np.concatenate([serve(X=tf.constant(each[np.newaxis]))["logits"].numpy() for each in read])
    np.testing.assert_allclose(predicted("images.npz", "logits"), served, atol=1e-5)

    run(f"ckpttool new --input 8,8,3 --layers '{LAYERS}' -o plain.ckpt")
    refused = run("ckpttool export-saved-model plain.ckpt --with-preprocessing -o other", 2)
    assert "no preprocessing is kept to put into the graph; --preprocess specifies it, as scale(1/255)" in refused
    run("ckpttool export-saved-model plain.ckpt --with-preprocessing --preprocess 'scale(1/255)' -o other")


def test_a_file_of_keras_has_it_in_its_metadata(folder: Path, run: Run) -> None:
    import keras

    net = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3, name="out")])
    net.save("net.keras")
    Path("names.txt").write_text("red\ngreen\nblue")
    given = "--preprocess 'resize(8); keras(tf)' --classes names.txt"
    run(f"ckpttool finetune net.keras --data bytes.npz --objective softmax {given} {TUNE} -o tuned.keras")
    for command in ("layers", "log"):
        said = run(f"ckpttool {command} tuned.keras")
        assert "3 classes: red, green, blue" in said and "preprocessing: resize(8); keras(tf)" in said
    run("ckpttool import tuned.keras --into tuned.keras -o again.keras")
    assert "preprocessing: resize(8); keras(tf)" in run("ckpttool layers again.keras")
    run("ckpttool predict again.keras --data bytes.npz -o rows.npz")
    expected = keras.models.load_model("tuned.keras")(np.load("bytes.npz")["x"] / 127.5 - 1)
    np.testing.assert_allclose(predicted("rows.npz", "logits"), expected, atol=1e-5)
