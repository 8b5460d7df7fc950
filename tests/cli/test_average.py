"""`average`: what TensorFlow 1 and 2 restore from an average, its output and errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from ckpttool import checkpoint
from ckpttool.formats.format import Writing


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three checkpoints of one run."""
    for number in (1, 2, 3):
        values = {
            "fc/kernel": np.full((2, 3), number, np.float32),
            "fc/kernel/Momentum": np.full((2, 3), number, np.float32),
            "global_step": np.array(100 * number),
        }
        checkpoint.save(values, tmp_path / f"model-{number}")
    return [tmp_path / f"model-{number}" for number in (1, 2, 3)]


def values(path: Path) -> dict[str, Any]:
    return {name: tensor.read().tolist() for name, tensor in checkpoint.open(path).items()}


def test_a_plain_tensorflow_1_program_goes_on_from_an_average(
    shell: Any, new_network: type[Any], new_session: type[Any], feed: dict[str, Any], tmp_path: Path
) -> None:
    network = new_network()
    with network.building():
        x, y, _ = network.inputs()
        network.classify(network.dense(x, 3, "outputs", relu=False), y, network.v1.train.MomentumOptimizer(0.1, 0.9))
    session = new_session(network.export(), None)
    models, prefixes = [], []
    for number in (1, 2, 3):
        session.run("train", feed)
        models.append(session.weights())
        prefixes.append(session.save(tmp_path / f"model-{number}"))
    result = shell.run("average", *prefixes, "-o", tmp_path / "mean.ckpt")
    assert result.stdout == ""
    assert result.stderr == (
        f"{tmp_path}/mean.ckpt: written and read back, 4 tensors (120 bytes), "
        f"with the graph of {tmp_path}/model-3.meta\n"
    )
    restored = new_session(tmp_path / "mean.ckpt", tmp_path / "mean.ckpt")
    found = restored.weights()
    for name in ("outputs/kernel", "outputs/bias"):
        mean = np.stack([model[name] for model in models]).astype(np.float64).mean(0)
        assert np.array_equal(found[name], mean.astype(np.float32))
    assert np.array_equal(found["outputs/kernel/Momentum"], models[-1]["outputs/kernel/Momentum"])
    before = restored.run("loss/loss:0", feed)
    restored.run("train", feed)
    assert restored.run("loss/loss:0", feed) < before


def test_tensorflow_2_restores_an_average_of_object_checkpoints(shell: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    class Net(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kernel, self.steps = tf.Variable(tf.zeros([2, 2])), tf.Variable(0, dtype=tf.int64)

    net = Net()
    saver = tf.train.Checkpoint(net=net)
    for number in (1, 2, 6):
        net.kernel.assign(tf.fill([2, 2], float(number)))
        net.steps.assign(number)
        saver.write(str(tmp_path / f"ckpt-{number}"))
    shell.run("average", *(tmp_path / f"ckpt-{number}" for number in (1, 2, 6)), "-o", tmp_path / "mean")
    fresh = Net()
    tf.train.Checkpoint(net=fresh).read(str(tmp_path / "mean")).assert_consumed()
    assert (fresh.kernel.numpy().tolist(), int(fresh.steps)) == ([[3.0, 3.0], [3.0, 3.0]], 6)


def test_weights_and_decay(shell: Any, three: list[Path], tmp_path: Path) -> None:
    shell.run("average", *three, "--weights", "2,1,1", "-o", tmp_path / "weighted")
    assert values(tmp_path / "weighted") == {
        "fc/kernel": [[1.75] * 3] * 2,
        "fc/kernel/Momentum": [[3.0] * 3] * 2,
        "global_step": 300,
    }
    shell.run("average", *three, "--decay", "0.5", "-o", tmp_path / "moving")
    assert values(tmp_path / "moving")["fc/kernel"] == [[2.25] * 3] * 2


def test_the_last_of_a_folder_are_averaged_by_their_steps(shell: Any, three: list[Path], tmp_path: Path) -> None:
    checkpoint.save({"fc/kernel": np.zeros((9, 9), np.float32)}, tmp_path / "best.ckpt")
    result = shell.run("average", tmp_path, "--last", "2", "-o", tmp_path / "mean")
    assert values(tmp_path / "mean")["fc/kernel"] == [[2.5] * 3] * 2
    assert result.stderr.splitlines()[0] == f"averaged: {three[1]}, {three[2]}"
    assert shell.error("average", tmp_path, "--last", "9", "-o", tmp_path / "x") == (
        f"{tmp_path}: 5 checkpoints, fewer than --last 9"
    )
    assert "--last takes one folder" in shell.error("average", *three, "--last", "2", "-o", tmp_path / "x")


def test_an_average_can_be_the_folders_latest(shell: Any, three: list[Path], tmp_path: Path) -> None:
    import tensorflow as tf

    shell.run("average", *three, "--latest", "-o", tmp_path / "mean")
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "mean")


def test_a_plan_writes_nothing(shell: Any, three: list[Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert shell.lines("average", *three, "--plan") == [
        "fc/kernel\t[2, 3]\tfloat32\t24\taveraged",
        "fc/kernel/Momentum\t[2, 3]\tfloat32\t24\tfrom the last",
        "global_step\t[]\tint64\t8\tfrom the last",
    ]
    assert sorted(tmp_path.iterdir()) == before


def test_nan_in_an_input_is_said(shell: Any, three: list[Path], tmp_path: Path) -> None:
    checkpoint.save({"fc/kernel": np.full((2, 3), np.nan, np.float32)}, tmp_path / "bad")
    result = shell.run("average", three[0], tmp_path / "bad", three[1], "-o", tmp_path / "mean")
    assert result.stderr.splitlines()[:-1] == [f"fc/kernel has NaN or infinities, as in {tmp_path}/bad"]


def test_the_output_may_be_one_of_the_inputs(shell: Any, three: list[Path]) -> None:
    assert "--overwrite replaces it" in shell.error("average", *three, "-o", three[2])
    shell.run("average", *three, "-o", three[2], "--overwrite")
    assert values(three[2])["fc/kernel"] == [[2.0] * 3] * 2


def test_what_does_not_agree_is_named(shell: Any, three: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    checkpoint.save({"fc/kernel": np.zeros((3, 2), np.float32)}, other)
    assert shell.error("average", three[0], other, "-o", tmp_path / "x") == (
        f"fc/kernel is float32 [2, 3] in {three[0]}, float32 [3, 2] in {other}; --lenient omits such tensors"
    )
    assert shell.error("average", three[0], "-o", tmp_path / "x") == "1 checkpoint, expected two or more"
    assert "'1,b' is not a list of numbers" in shell.error("average", *three, "--weights", "1,b", "-o", tmp_path / "x")
    assert not (tmp_path / "x.index").exists()


def test_damage_is_found_before_an_output_is_there(
    shell: Any, three: list[Path], flip: Callable[[Path, int], None], tmp_path: Path
) -> None:
    flip(Path(f"{three[1]}.data-00000-of-00001"), 3)
    assert "fc/kernel" in shell.error("average", *three, "-o", tmp_path / "x")
    assert not (tmp_path / "x.index").exists()


def test_formats_can_be_mixed(shell: Any, three: list[Path], tmp_path: Path) -> None:
    shell.run("convert", three[0], "-o", tmp_path / "one.npz")
    shell.run("average", tmp_path / "one.npz", three[2], "-o", tmp_path / "mean.safetensors")
    assert values(tmp_path / "mean.safetensors")["fc/kernel"] == [[2.0] * 3] * 2


def test_texts_come_along_and_what_does_not_is_said(shell: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for path in (one, two):
        checkpoint.save({"w": np.ones(2)}, path, how=Writing(metadata={"format": "pt"}))
    shell.run("average", one, two, "-o", tmp_path / "mean.safetensors")
    with safetensors.safe_open(tmp_path / "mean.safetensors", "np") as read:
        assert read.metadata()["format"] == "pt"
    said = shell.run("average", one, two, "-o", tmp_path / "mean.npz").stderr.splitlines()
    assert said[0] == "skipped, as npz stores no texts: format"


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two Keras networks in each of Keras's formats."""
    import keras

    folder = tmp_path_factory.mktemp("nets")
    for number in (1, 2):
        keras.utils.set_random_seed(number)
        net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="fc")], name="net")
        net.save(folder / f"{number}.keras")
        net.save(folder / f"{number}.h5")
        net.export(folder / f"{number}", verbose=False)
    return folder


ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def mean_of(nets: Path) -> Any:
    import keras

    return sum(np.asarray(keras.models.load_model(nets / f"{number}.keras")(ROWS)) for number in (1, 2)) / 2


@pytest.mark.parametrize("command", [["average"], ["merge", "--how", "linear"]])
def test_what_comes_out_is_of_the_family_that_went_in(
    shell: Any, nets: Path, tmp_path: Path, command: list[str]
) -> None:
    import keras
    import tensorflow as tf

    shell.run(*command, nets / "1", nets / "2", "-o", tmp_path / "mean")
    (found,) = tf.saved_model.load(str(tmp_path / "mean")).signatures["serving_default"](tf.constant(ROWS)).values()
    np.testing.assert_allclose(found, mean_of(nets), atol=1e-6)

    shell.run(*command, nets / "1.keras", nets / "2.keras", "-o", tmp_path / "mean.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "mean.keras")(ROWS), mean_of(nets), atol=1e-6)


def test_where_it_cannot_be_the_way_out_is_named_and_works(shell: Any, nets: Path, tmp_path: Path) -> None:
    import keras

    keras_files = nets / "1.keras", nets / "2.keras"
    refused = shell.error("average", *keras_files, "-o", tmp_path / "mean")
    assert f"name it {tmp_path / 'mean.keras'}, or {tmp_path / 'mean.ckpt'} for a checkpoint of the weights" in refused
    said = shell.run("average", *keras_files, "-o", tmp_path / "mean.ckpt").stderr
    assert "the network of" in said and "is not written" in said

    old = nets / "1.h5", nets / "2.h5"
    refused = shell.error("average", *old, "-o", tmp_path / "mean.keras")
    assert "an import of it into itself makes one first" in refused
    shell.run("import", old[1], "--into", old[1], "-o", tmp_path / "mean.keras")
    shell.run("average", nets / "1.keras", tmp_path / "mean.keras", "-o", tmp_path / "mean.keras", "--overwrite")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "mean.keras")(ROWS), mean_of(nets), atol=1e-6)
    assert "Keras does not load: `import` puts it into" in shell.run("average", *old, "-o", tmp_path / "m.h5").stderr

    shell.run("average", nets / "1", nets / "2", "-o", tmp_path / "weights.ckpt")
    refused = shell.error("edit", nets / "1", "--cast", "bfloat16", "-o", tmp_path / "small")
    assert refused.startswith("net/") and "an output named such as x.ckpt stores them without the graph" in refused
    shell.run("edit", nets / "1", "--cast", "bfloat16", "-o", tmp_path / "small.ckpt")


def test_what_keras_stores_twice_is_imported_once(shell: Any, nets: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    for into in (nets / "1", nets / "2"):
        shell.run("import", nets / "1", "--into", into, "-o", tmp_path / "out", "--overwrite")
        first, found = (
            tf.saved_model.load(str(folder)).signatures["serving_default"](tf.constant(ROWS))["output_0"]
            for folder in (nets / "1", tmp_path / "out")
        )
        np.testing.assert_array_equal(first, found)
    draft = shell.run("import", nets / "1", "--into", nets / "2.keras", "--suggest", "-o", tmp_path / "rules.toml")
    assert "_all_variables" not in draft.output
