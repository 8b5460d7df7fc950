"""`cache`: filled once, then hit; changes of the features change the key; damage and interruption are repaired."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.data.feature_files import from_facts
from ckpttool.formats.wire import checked_json, crc
from ckpttool.training.feature_cache import FeatureCache


@pytest.fixture
def cache(shell: Any, small: Path, data: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run `cache --json` on the small network, or on another model or other rows."""

    def run(model: Path = small, rows: Path = data, freeze: str = "hidden[12]", *more: str) -> dict[str, Any]:
        options = ["--freeze", freeze, "--data", rows, "--cache-dir", tmp_path / "cache", *more]
        found: dict[str, Any] = shell.json("cache", model, *options)
        return found

    return run


def test_filled_once_and_found_after(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["cache", small, "--freeze", "hidden[12]", "--data", data, "--cache-dir", tmp_path / "cache"]
    first = shell.run(*arguments)
    (folder,) = (tmp_path / "cache").iterdir()
    assert first.stdout == f"{folder}\n"
    assert "cache: 300 rows to compute, 7.2 kB, about " in first.stderr
    assert f"cache: filled, 300 rows, 7.2 kB, {folder}" in first.stderr
    again = shell.run(*arguments)
    assert again.stdout == f"{folder}\n"
    assert again.stderr.splitlines()[-1] == f"cache: hit, 300 rows, 7.2 kB, {folder}"
    assert "to compute" not in again.stderr
    assert shell.json(*arguments) == {"path": str(folder), "rows": 300, "bytes": 7200, "hit": True}


def test_the_features_are_the_frozen_layers_outputs(
    cache: Callable[..., dict[str, Any]], small: Path, data: Path, new_session: Any
) -> None:
    found = cache(small, data, "hidden[12]", "--valid", "last:10%")
    (features,) = (np.load(path, allow_pickle=False) for path in Path(found["path"]).glob("*.npy"))
    x = np.load(data, allow_pickle=False)["x_train"]
    elu = new_session(small, small).run("dnn/hidden2/Elu:0", {"X:0": x})
    np.testing.assert_allclose(features, elu, atol=1e-6)


def test_finetune_finds_what_cache_filled(
    shell: Any, cache: Callable[..., dict[str, Any]], small: Path, data: Path, tmp_path: Path
) -> None:
    filled = cache()
    options = ["--freeze", "hidden[12]", "--cache", "--cache-dir", tmp_path / "cache", "--epochs", "1"]
    run = shell.json("finetune", small, "--data", data, *options, "-o", tmp_path / "out")
    assert run["cache"] == filled | {"hit": True}


def test_the_users_cache_folder_is_the_default(
    shell: Any, small: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = shell.json("cache", small, "--freeze", "hidden1", "--data", data)
    assert Path(found["path"]).parent == tmp_path / "ckpttool"


def changed_copy(small: Path, name: str, to: Path) -> Path:
    """The small network with one weight changed slightly."""
    values = {key: tensor.read() for key, tensor in checkpoint.open(small).items()}
    values[name] = values[name] + np.float32(1e-3)
    checkpoint.save(values, to, format="bundle")
    Path(f"{to}.meta").write_bytes(Path(f"{small}.meta").read_bytes())
    return to


def test_the_key_follows_what_the_features_depend_on_and_nothing_else(
    cache: Callable[..., dict[str, Any]], small: Path, data: Path, tmp_path: Path
) -> None:
    first = cache()
    arrays = dict(np.load(data, allow_pickle=False))
    np.savez(tmp_path / "moved.npz", **(arrays | {"x_train": arrays["x_train"] + np.float32(1e-3)}))
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    np.savez(tmp_path / "tested.npz", **(arrays | {"x_test": arrays["x_test"] * 2}))
    misses = [
        cache(changed_copy(small, "hidden1/bias", tmp_path / "frozen.ckpt")),
        cache(small, tmp_path / "moved.npz"),
        cache(small, data, "hidden1"),
        cache(small, data, "hidden[12]", "--valid", "50"),
    ]
    assert not any(found["hit"] for found in misses)
    assert len({found["path"] for found in [first, *misses]}) == 5
    hits = [
        cache(changed_copy(small, "outputs/bias", tmp_path / "trained.ckpt")),
        cache(small, tmp_path / "packed.npz"),
        cache(small, tmp_path / "tested.npz"),
    ]
    assert hits == [first | {"hit": True}] * 3


def test_another_graph_with_the_same_weights_is_a_miss(
    shell: Any, cache: Callable[..., dict[str, Any]], small: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.ckpt"
    spec = "hidden1 = dense(8, relu); hidden2 = dense(6, tanh); outputs = dense(3)"
    shell.run("new", "--input", "4", "--layers", spec, "-o", tmp_path / "tanh.ckpt")
    shell.run("reuse", small, "--layers", ".*", "--into", tmp_path / "tanh.ckpt", "-o", other)
    assert cache()["path"] != cache(other)["path"]


def test_damage_is_noticed_told_and_mended(
    shell: Any, cache: Callable[..., dict[str, Any]], small: Path, data: Path, tmp_path: Path, flip: Any
) -> None:
    folder = Path(cache()["path"])
    (path,) = folder.glob("*.npy")
    whole = path.read_bytes()
    arguments = ["cache", small, "--freeze", "hidden[12]", "--data", data, "--cache-dir", tmp_path / "cache"]
    flip(path, 3000)
    mended = shell.run(*arguments)
    assert "is damaged: its checksum differs; it is filled again" in mended.stderr
    assert "cache: filled, 300 rows" in mended.stderr
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-40])
    assert "bytes, expected" in shell.run(*arguments).stderr
    (folder / "manifest.json").write_text("{")
    assert not cache()["hit"]
    assert path.read_bytes() == whole


FILL_AND_DIE = """
import functools, os, signal, sys
import ckpttool.training.filling as cache
from ckpttool.cli import main
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.data.feature_store import Entry

cache.BATCH_BYTES = 160
Entry.fill = functools.partialmethod(Entry.fill, durable_every=1)
def kill(self, done, rows):
    if done == 50:
        os.kill(os.getpid(), signal.SIGKILL)

ProgressPrinter.on_cache_progress = kill
main(sys.argv[1:])
"""


def test_a_killed_fill_goes_on_where_it_was(
    shell: Any, small: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["cache", small, "--freeze", "hidden[12]", "--data", data, "--cache-dir"]
    command = [sys.executable, "-c", FILL_AND_DIE, *map(str, arguments), str(tmp_path / "cache")]
    died = subprocess.run(command, check=False, capture_output=True)
    assert died.returncode == -9
    (folder,) = (tmp_path / "cache").iterdir()
    assert not (folder / "manifest.json").exists()
    computed: list[int] = []
    compute = FeatureCache.compute
    monkeypatch.setattr("ckpttool.training.filling.BATCH_BYTES", 160)
    monkeypatch.setattr(FeatureCache, "compute", lambda self, rows: (computed.append(rows[0]), compute(self, rows))[1])
    assert shell.json(*arguments, tmp_path / "cache") == {"path": str(folder), "rows": 300, "bytes": 7200, "hit": False}
    assert computed[1:26] == list(range(50, 300, 10))  # the first ones are a few rows, the last the sample's
    whole = shell.json(*arguments, tmp_path / "other")
    names = sorted(path.name for path in folder.glob("*.npy"))
    assert [(folder / name).read_bytes() for name in names] == [
        (Path(whole["path"]) / name).read_bytes() for name in names
    ]


def test_a_sample_that_differs_from_the_live_graph_is_an_error(
    cache: Callable[..., dict[str, Any]], shell: Any, small: Path, data: Path, tmp_path: Path
) -> None:
    """A cache that is whole, but was filled with other numbers than this TensorFlow computes."""
    compute = FeatureCache.compute
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            FeatureCache, "compute", lambda self, rows: {name: a + 1 for name, a in compute(self, rows).items()}
        )
        folder = cache()["path"]
    options = ["--freeze", "hidden[12]", "--data", data, "--cache-dir", tmp_path / "cache"]
    result = shell.run("cache", small, *options, exit_code=2)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line == f"Error: {folder}: dnn/hidden2/Elu:0 differs from the live graph; remove that folder"


@pytest.mark.parametrize(
    "lie",
    [{"name": "another:0"}, {"row_shape": [2, 3]}, {"dtype": "int32"}, {"rows": 100}, {"second": "another:0"}],
    ids=str,
)
def test_a_manifest_of_other_tensors_is_an_error(
    cache: Callable[..., dict[str, Any]], shell: Any, small: Path, data: Path, tmp_path: Path, lie: dict[str, Any]
) -> None:
    """A manifest that matches its files and its checksum, but not the model: somebody else may have written it."""
    folder = Path(cache()["path"])
    manifest = checked_json.loads((folder / "manifest.json").read_bytes())
    (tensor,) = manifest["tensors"]
    stored, values = from_facts(tensor, 0), np.load(folder / tensor["file"])
    tensor |= {key: value for key, value in lie.items() if key in tensor}
    manifest["rows"] = lie.get("rows", len(values))
    told = from_facts(tensor, 0)
    rows = values.view(told.dtype.numpy).reshape(-1, *told.row_shape)[: manifest["rows"]]
    tensor["crc32c"] = crc.extend(0, np.ascontiguousarray(rows).tobytes())
    (folder / stored.file).write_bytes(told.header(len(rows)) + rows.tobytes())
    if "second" in lie:
        manifest["tensors"].append({**tensor, "name": lie["second"], "file": "00001.npy"})
        shutil.copy(folder / stored.file, folder / "00001.npy")
    (folder / "manifest.json").write_bytes(checked_json.dumps(manifest))
    options = ["--freeze", "hidden[12]", "--data", data, "--cache-dir", tmp_path / "cache"]
    result = shell.run("cache", small, *options, exit_code=2)
    named = lie.get("second", "dnn/hidden2/Elu:0")
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line == f"Error: {folder}: {named} differs from the live graph; remove that folder"


def test_what_cannot_be_cached_is_refused_with_the_reason(
    shell: Any, small: Path, data: Path, tmp_path: Path, foreign: Callable[..., Path]
) -> None:
    def refusal(model: Path, freeze: str) -> str:
        message: str = shell.run(
            "cache", model, "--freeze", freeze, "--data", data, "--cache-dir", tmp_path / "c", exit_code=2
        ).stderr.splitlines()[-1]
        assert not list(tmp_path.iterdir())
        return message.removeprefix("Error: ")

    random = foreign("always_random")
    assert refusal(random, "hidden[12]").startswith(
        f"{random}.meta: the frozen part is random even in inference mode (random_uniform"
    )
    assert refusal(small, "hiden1") == "pattern 'hiden1' matches nothing; nearest: hidden1, hidden2, hidden1/bias"
    assert refusal(small, ".*") == f"{small}.meta: no layer is left to train: all 6 weights are frozen"
    assert "nothing to cache" in refusal(small, "outputs")


def test_a_place_that_is_no_folder_is_refused(shell: Any, small: Path, data: Path) -> None:
    options = ["--freeze", "hidden1", "--data", data, "--cache-dir"]
    result = shell.run("cache", small, *options, data, exit_code=2)
    assert result.stderr.endswith("cannot be used as a cache: Not a directory; --cache-dir names another\n")
    result = shell.run("cache", small, *options, "/proc/none", exit_code=2)
    assert result.stderr.splitlines()[-1].startswith("Error: /proc/none/")


def test_variants_of_augmented_rows_are_cached(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["cache", small, "--freeze", "hidden1", "--data", data, "--cache-dir", tmp_path / "cache"]
    augmented = [*arguments, "--augment", "flip(); brightness(0.1)", "--image-shape", "2,2,1", "--seed", "3"]
    found = shell.json(*augmented, "--cache-augment", "4")
    assert (found["rows"], found["variants"], found["hit"]) == (4 * 270 + 30, 4, False)
    assert shell.json(*augmented, "--cache-augment", "4")["hit"]
    refused = shell.run(*augmented, exit_code=2).stderr
    assert "--cache-augment, how many variants" in refused
    refused = shell.run(*arguments, "--augment", "flip()", "--cache-augment", "2", "--image-shape", "4", exit_code=2)
    assert "expected HEIGHT,WIDTH or HEIGHT,WIDTH,CHANNELS such as 28,28,1, found '4'" in refused.stderr


def test_an_executor_fills_the_entry_that_one_process_does(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["cache", small, "--freeze", "hidden[12]", "--data", data, "--cache-dir"]
    result = shell.run(*arguments, tmp_path / "through", "--on", "here")
    assert "cache: filled, 300 rows" in result.stderr
    alone, through = Path(shell.json(*arguments, tmp_path / "alone")["path"]), Path(result.stdout.strip())
    assert through == tmp_path / "through" / alone.name
    for path in alone.glob("*.npy"):
        np.testing.assert_allclose(
            np.load(through / path.name), np.load(path), atol=1e-6
        )  # other batches round differently
    assert shell.error(*arguments, tmp_path, "--on", "nowhere").startswith("no executor is named 'nowhere'")
