"""`cache` through executors and in a bucket: the same entry, whoever computed it and wherever it was first."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, GraphError
from ckpttool.executors.executor import Executor
from ckpttool.executors.here import Here
from ckpttool.executors.processes import processes
from ckpttool.formats.wire import checked_json
from ckpttool.model.model import Model
from ckpttool.training import filling
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.feature_cache import FeatureCache
from ckpttool.training.features import Features
from ckpttool.verbs.cache import cache


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty parts of ten rows."""
    monkeypatch.setattr(filling, "BATCH_BYTES", 160)


def files_of(features: Features) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in features.entry.path.iterdir()}


def test_workers_write_the_same_entry(model: Model, data: Path, tmp_path: Path) -> None:
    alone = cache(model, data, "hidden[12]", root=tmp_path / "alone")
    with processes(1) as executor:
        found = cache(model, data, "hidden[12]", root=tmp_path / "through", executor=executor)
        assert not found.hit
        assert files_of(found) == files_of(alone)
        with pytest.raises(GraphError, match="a worker has other weights"):  # as if the file had been changed since
            doubled = Checkpoint.of({name: tensor.read() * 2 for name, tensor in model.checkpoint.items()})
            other = replace(model, checkpoint=doubled)
            cache(other, data, "hidden[12]", root=tmp_path / "third", executor=executor)
    assert cache(model, data, "hidden[12]", root=tmp_path / "through").hit


def test_variants_and_all_else_that_is_asked_for(model: Model, data: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        **{"valid": "20%", "augment": "brightness(0.1)", "cache_augment": 2, "image_shape": [2, 2, 1], "seed": 7},
        **{"roles": {"inputs": ["X"]}, "preprocess": "scale(2)"},
    }
    alone = cache(model, data, "hidden1", root=tmp_path / "alone", **asked)
    with Here() as executor:
        found = cache(model, data, "hidden1", root=tmp_path / "through", **asked, executor=executor)
    assert found.variants == 2
    assert files_of(found) == files_of(alone)


class Stops(Callback):
    """Stops a fill midway."""

    def on_cache_progress(self, done: int, rows: int) -> None:
        if done == 100:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("first", "then"), [(Here(), None), pytest.param(None, Here(), marks=pytest.mark.slow), (Here(), Here())]
)
def test_a_fill_that_was_stopped_goes_on_with_or_without_workers(
    model: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Any, then: Any
) -> None:
    whole, computed, compute = cache(model, data, "hidden1", root=tmp_path / "whole"), [], FeatureCache.compute

    def counted(self: FeatureCache, rows: Any) -> Any:
        computed.append(rows[0])
        return compute(self, rows)

    with pytest.raises(KeyboardInterrupt):
        cache(model, data, "hidden1", root=tmp_path / "cache", callbacks=Stops(), executor=first)
    monkeypatch.setattr(FeatureCache, "compute", counted)
    assert files_of(cache(model, data, "hidden1", root=tmp_path / "cache", executor=then)) == files_of(whole)
    numbers = [first for first in computed if first]  # the first few and a sample are of row 0
    assert numbers == [*range(numbers[0], 300, 10)]
    assert numbers[0] in (90, 100)


def test_a_folder_that_a_worker_does_not_see_is_named(model: Model, data: Path, tmp_path: Path) -> None:
    class Elsewhere(Here):
        """Its workers are on a machine without the folder."""

        def submit(self, *given: Any, **named: Any) -> Any:
            for path in (tmp_path / "cache").glob("*/*.npy"):
                path.unlink()
            return super().submit(*given, **named)

    with Elsewhere() as executor, pytest.raises(CkptError, match=r"a worker cannot write there: No such file.*s3://"):
        cache(model, data, "hidden1", root=tmp_path / "cache", executor=executor)
    assert not list((tmp_path / "cache").glob("*/manifest.json"))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket on moto's S3 server."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(key, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        system.clear_instance_cache()  # of other tests' servers
        system.mkdir("shared")
        yield "s3://shared"
        system.clear_instance_cache()
    server.stop()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Moves to another machine, whose own cache is empty; parts have a hundred rows."""
    monkeypatch.setattr(filling, "BATCH_BYTES", 1600)

    def go(name: str) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

    go("first")
    return go


def in_bucket(url: str) -> list[str]:
    import fsspec

    system = fsspec.filesystem("s3")
    system.invalidate_cache()
    return sorted(system.find(url))


@pytest.mark.parametrize("executor", [pytest.param(None, marks=pytest.mark.slow), Here()], ids=["alone", "executor"])
def test_one_machine_fills_a_bucket_and_another_fetches(
    model: Model, data: Path, tmp_path: Path, bucket: str, machine: Any, executor: Executor | None
) -> None:
    root = f"{bucket}/{'alone' if executor is None else 'executor'}/"
    alone = cache(model, data, "hidden1", root=tmp_path / "alone")
    found = cache(model, data, "hidden1", root=root, executor=executor)
    assert files_of(found) == files_of(alone)
    assert not found.hit
    files = in_bucket(root)
    assert len(files) == 4
    assert files[0].endswith(f"{found.entry.key}/00000/000000000000-000000000100.npy")
    assert files[-1].endswith(f"{found.entry.key}/manifest.json")
    machine("second")
    fetched = cache(model, data, "hidden1", root=Path(root))  # as on the command line
    assert fetched.hit
    assert fetched.entry.path.is_relative_to(tmp_path / "second")
    np.testing.assert_array_equal(*(next(iter(each.arrays.values())) for each in (fetched, alone)))


def test_what_a_machine_has_already_goes_to_the_bucket(model: Model, data: Path, bucket: str, machine: Any) -> None:
    cache(model, data, "hidden1")
    assert cache(model, data, "hidden1", root=f"{bucket}/later").hit
    machine("second")
    assert cache(model, data, "hidden1", root=f"{bucket}/later").hit


@pytest.mark.parametrize(
    "damage",
    [
        "part",
        "missing",
        pytest.param("manifest", marks=pytest.mark.slow),
        '{"parts_of_rows": [{"start": 0}]}',
        pytest.param('{"parts_of_rows": []}', marks=pytest.mark.slow),
    ],
)
def test_what_is_damaged_in_a_bucket_is_computed_again(
    model: Model, data: Path, bucket: str, machine: Any, damage: str
) -> None:
    import fsspec

    root, system = f"{bucket}/damaged-{len(damage)}", fsspec.filesystem("s3")
    filled = cache(model, data, "hidden1", root=root)
    *parts, manifest = in_bucket(root)
    match damage:
        case "part":
            system.pipe_file(parts[1], system.cat_file(parts[1])[:-1] + b"!")
        case "missing":
            system.rm_file(parts[1])
        case "manifest":
            system.pipe_file(manifest, b'{"format": 1}')
        case _:  # a valid checksum of facts that are not ours
            system.pipe_file(manifest, checked_json.dumps(json.loads(damage)))
    machine("second")
    again = cache(model, data, "hidden1", root=root)
    assert not again.hit
    assert files_of(again) == files_of(filled)
    machine("third")
    assert cache(model, data, "hidden1", root=root).hit


def test_a_bucket_that_is_not_there_is_an_error_of_one_line(
    model: Model, data: Path, bucket: str, machine: Any
) -> None:
    with pytest.raises(CkptError, match=r"^s3://nowhere/x/.*: "):
        cache(model, data, "hidden1", root="s3://nowhere/x")
