"""TensorFlow 2 SavedModels, whose graphs have other names for variables than their checkpoints."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint

ROWS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def keras_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As exported by Keras 3: its graph has each variable three times, its checkpoint twice."""
    import keras

    keras.utils.set_random_seed(0)
    hidden, norm = keras.layers.Dense(3, "relu", name="hidden"), keras.layers.BatchNormalization(name="norm")
    model = keras.Sequential([keras.Input((4,)), hidden, norm, keras.layers.Dense(2, name="outputs")], name="net")
    for variable in model.variables:
        variable.assign(np.random.default_rng(1).uniform(0.5, 1.5, variable.shape))
    folder: Path = tmp_path_factory.mktemp("keras") / "exported"
    model.export(folder, verbose=False)
    return folder


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Modules in a list: the graph numbers their variables, the checkpoint has paths to them."""
    import tensorflow as tf

    class Layer(tf.Module):  # type: ignore[misc]
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.kernel = tf.Variable(tf.random.stateless_normal((4, 4), (seed, 0)), name="kernel")
            self.bias = tf.Variable(tf.random.stateless_normal((4,), (seed, 1)))

    class Model(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = [Layer(seed) for seed in range(3)]

        @tf.function(input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> dict[str, Any]:
            for layer in self.layers:
                x = tf.nn.relu(x @ layer.kernel + layer.bias)
            return {"y": x}

    folder, model = tmp_path_factory.mktemp("modules") / "saved", Model()
    tf.saved_model.save(model, str(folder), signatures=model.__call__)
    return folder


@pytest.fixture(params=["keras_export", "modules"])
def saved(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def given(folder: Path) -> np.ndarray[Any, Any]:
    """Return TensorFlow 2's outputs: the reference."""
    import tensorflow as tf

    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    (found,) = signature(**{name: tf.constant(ROWS)}).values()
    array: np.ndarray[Any, Any] = found.numpy()
    return array


def sides(shell: Any, folder: Path) -> tuple[str, str]:
    """Return the names of the input and the output."""
    plan = shell.json("strip", folder, "--plan")
    return next(iter(plan["inputs"].values())), next(iter(plan["outputs"].values()))


def test_what_is_stripped_computes_the_same(shell: Any, saved: Path, computed: Any, tmp_path: Path) -> None:
    shell.run("strip", saved, "-o", tmp_path / "small.ckpt")
    fed, output = sides(shell, saved)
    assert np.array_equal(computed(tmp_path / "small.ckpt", output, {fed: ROWS}), given(saved))
    mine, whole = checkpoint.open(tmp_path / "small.ckpt"), checkpoint.open(saved)
    assert {name for name in whole if name.startswith(("net/", "layers/"))} == set(mine)
    assert all(mine[name].read().tobytes() == whole[name].read().tobytes() for name in mine)


def test_what_is_folded_computes_the_same(shell: Any, saved: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    shell.run("fold", saved, "-o", tmp_path / "frozen.pb")
    (fed, output), expected = sides(shell, saved), given(saved)
    graph = tf.compat.v1.GraphDef.FromString((tmp_path / "frozen.pb").read_bytes())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(graph, name="")
        assert np.array_equal(session.run(output, {fed: ROWS}), expected)


def test_what_is_exported_again_computes_the_same(shell: Any, saved: Path, tmp_path: Path) -> None:
    shell.run("export-saved-model", saved, "-o", tmp_path / "again")
    assert np.array_equal(given(tmp_path / "again"), given(saved))


def test_the_file_of_the_graph_stands_for_its_folder(shell: Any, saved: Path) -> None:
    assert shell.json("fold", saved / "saved_model.pb", "--plan") == shell.json("fold", saved, "--plan")


def test_it_predicts(shell: Any, saved: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_test=ROWS)
    shell.run("predict", saved, "--data", tmp_path / "rows.npz", "-o", tmp_path / "found.npz")
    assert np.allclose(np.load(tmp_path / "found.npz")["outputs"], given(saved), rtol=1e-6)


def test_whoever_loads_an_edited_export_computes_with_the_new_values(
    shell: Any, keras_export: Path, computed: Any, tmp_path: Path
) -> None:
    import tensorflow as tf

    edited, stripped = tmp_path / "edited", tmp_path / "small.ckpt"
    shell.run("edit", keras_export, "--prune", "net/outputs=1.0", "--to", "saved-model", "-o", edited)
    shell.run("strip", edited, "-o", stripped)
    fed, output = sides(shell, keras_export)
    assert given(keras_export).all()
    assert not given(edited).any()
    assert not computed(stripped, output, {fed: ROWS}).any()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(edited)).signature_def["serving_default"]
        (output,), (fed,) = ([info.name for info in side.values()] for side in (loaded.outputs, loaded.inputs))
        assert not session.run(output, {fed: ROWS}).any()


def test_an_export_takes_its_own_weights_back_from_another_format(
    shell: Any, keras_export: Path, tmp_path: Path
) -> None:
    weights, again = tmp_path / "weights.npz", tmp_path / "again"
    shell.run("convert", keras_export, "--layers", "net", "-o", weights)
    shell.run("convert", weights, "--to", "saved-model", "--like", keras_export, "-o", again)
    shell.run("diff", keras_export, again)


def test_layers_have_each_variable_once_in_the_order_of_the_call(
    shell: Any, keras_export: Path, modules: Path, tmp_path: Path
) -> None:
    def listed(path: Path) -> list[tuple[str, int]]:
        return [(row["name"], row["parameters"]) for row in shell.json("layers", path)]

    assert listed(keras_export) == [("net/hidden", 15), ("net/norm", 12), ("net/outputs", 8)]
    assert listed(modules) == [("layers/0", 20), ("layers/1", 20), ("layers/2", 20)]
    shell.run("convert", keras_export, "-o", tmp_path / "alone.ckpt")
    assert dict(listed(tmp_path / "alone.ckpt")) == dict(listed(keras_export))


def test_only_what_the_output_lacks_is_said_to_be_left_out(shell: Any, modules: Path, tmp_path: Path) -> None:
    result = shell.run("strip", modules, "-o", tmp_path / "small.ckpt")
    assert result.stderr.endswith(f"{tmp_path / 'small.ckpt'}: written and read back, 0 ops and 0 tensors removed\n")
