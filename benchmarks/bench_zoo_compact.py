"""Ten tuned variants of a model with half of its layers frozen: the catalogue's size relative to their files.

    python benchmarks/bench_zoo_compact.py [--width 256] [--variants 10] [--data fixtures/mnist_small.npz]

Ten dense layers of one width, the lower five frozen, trained for an epoch with another seed each: by plain Keras, with
and without an optimizer that stores values for every weight, and by `ckpttool finetune`. Each variant is then read from
the compacted catalogue and compared with its file, tensor by tensor.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from ckpttool import checkpoint
from ckpttool.cli import main as main_command
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_compact import zoo_compact
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.verbs.zoo_verify import zoo_verify

DEPTH, FROZEN = 10, 5
"""The number of hidden layers, and of the frozen ones."""
Models = dict[str, list[Path]]


def tuned_by_keras(rows: tuple[Any, Any], width: int, variants: int) -> Models:
    """Write variants of one network with Keras."""
    import keras

    keras.utils.set_random_seed(0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    hidden = [keras.layers.Dense(width, "relu", name=f"hidden{each}") for each in range(DEPTH)]
    base = keras.Sequential([keras.layers.Input((width,)), *hidden, keras.layers.Dense(10, name="outputs")])
    start, made = base.get_weights(), Models()
    for layer in base.layers[:FROZEN]:
        layer.trainable = False
    for number in range(variants):
        for optimizer in ("sgd", "adam"):
            base.set_weights(start)
            keras.utils.set_random_seed(number)
            base.compile(optimizer, loss)
            base.fit(rows[0][:, :width], rows[1], verbose=0)
            path = Path(f"{optimizer}{number}.keras")
            base.save(path)
            made.setdefault(f"Keras, {optimizer}, .keras", []).append(path)
            if optimizer == "sgd":
                base.save_weights(f"{number}.weights.h5")
                made.setdefault("Keras, .weights.h5", []).append(Path(f"{number}.weights.h5"))
                base.export(f"saved{number}", verbose=False)
                made.setdefault("Keras, SavedModel", []).append(Path(f"saved{number}"))
    return made


def tuned_by_finetune(rows: tuple[Any, Any], width: int, variants: int) -> Models:
    """Write variants of a TensorFlow 1 network with `finetune`."""
    np.savez("rows.npz", x_train=rows[0][:, :width], y_train=rows[1])
    spec = "; ".join([*(f"hidden{each} = dense({width}, relu)" for each in range(DEPTH)), "outputs = dense(10)"])
    run("new", "--input", width, "--layers", spec, "-o", "base.ckpt")
    made = Models()
    for number in range(variants):
        for optimizer in ("sgd", "momentum"):
            path = Path(f"{optimizer}{number}.ckpt")
            options = ("--freeze", f"hidden[0-{FROZEN - 1}]", "--optimizer", optimizer, "--lr", 0.01, "--epochs", 1)
            run("finetune", "base.ckpt", "--data", "rows.npz", *options, "--seed", number, "-o", path)
            made.setdefault(f"ckpttool finetune, {optimizer}, TensorFlow 1", []).append(path)
        run("convert", f"sgd{number}.ckpt", "-o", f"{number}.safetensors")
        made.setdefault("the same as .safetensors", []).append(Path(f"{number}.safetensors"))
    return made


def run(*arguments: object) -> None:
    """Run a command in this process, which has imported TensorFlow; it must succeed."""
    done = CliRunner().invoke(main_command, [*map(str, arguments)])
    if done.exit_code:
        raise SystemExit(f"{' '.join(map(str, arguments))}\n{done.output}")


def share(paths: list[Path], root: Path) -> tuple[int, int]:
    """Return the size of models, and that of a compacted catalogue of them, from which all must be readable."""
    os.environ["CKPTTOOL_ZOO"] = str(root)
    files = sum(zoo_add(path, f"variant{number}", root=root).nbytes for number, path in enumerate(paths))
    zoo_compact(root)
    zoo_gc(root=root)
    taken = sum(path.stat().st_size for path in sized(root / "blobs"))
    assert not zoo_verify(root=root).problems
    for number, path in enumerate(paths):
        own, kept = checkpoint.open(path), checkpoint.open(f"zoo:variant{number}")
        assert own.keys() == kept.keys()
        assert all(np.array_equal(tensor.read(), kept[name].read()) for name, tensor in own.items())
    return files, taken


def sized(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder."""
    yield from (path for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Make the variants, compact them, and print a row for each way to make them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--variants", type=int, default=10)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[1] / "fixtures" / "mnist_small.npz")
    options = parser.parse_args()
    data = np.load(options.data)
    images = data["x_train"].reshape(len(data["x_train"]), -1).astype(np.float32) / 255
    rows = images, data["y_train"]
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        made = {
            **tuned_by_finetune(rows, options.width, options.variants),
            **tuned_by_keras(rows, options.width, options.variants),
        }
        for number, (kind, paths) in enumerate(made.items()):
            files, taken = share(paths, Path(name, f"zoo{number}"))
            print(f"{kind:42} {files / 1e6:7.1f} MB {taken / 1e6:7.1f} MB {taken / files:6.2f}", flush=True)
        os.chdir("/")


if __name__ == "__main__":
    main()
