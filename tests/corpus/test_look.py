"""The inspection commands on foreign models and checkpoints; broken ones have clear errors."""

import json
import os
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ckpttool.cli import main

CORPUS = Path(os.environ.get("CKPTTOOL_CORPUS", "/nowhere"))
pytestmark = pytest.mark.skipif(not CORPUS.is_dir(), reason="CKPTTOOL_CORPUS does not name the folder of real models")
BROKEN = "broken_"
COMMANDS = ("ops", "vars", "layers", "verify")
COUNT = 1922
"""Graphs in the archive frozen_dl4j_1922_graphs."""


def relative(path: Path) -> str:
    return str(path.relative_to(CORPUS))


def is_broken(path: Path) -> bool:
    return relative(path).startswith(BROKEN)


def whole(paths: list[Path]) -> list[Path]:
    return sorted({path for path in paths if not is_broken(path)})


INDEXES = whole([path for path in CORPUS.rglob("*.index") if path.is_file()])
METAS = whole(list(CORPUS.rglob("*.meta")))
SAVED_MODELS = whole(list(CORPUS.rglob("saved_model.pb")) + list(CORPUS.rglob("saved_model.pbtxt")))
NOT_GRAPHS = ("saved_model.pb", "keras_metadata.pb", "fingerprint.pb", "saved_model_config.pb")
"""Other files named .pb: the models themselves, and files next to them."""
GRAPHS = whole([path for path in CORPUS.rglob("*.pb") if path.name not in NOT_GRAPHS])
WITHOUT_DATA = ("resnet50",)
"""Prefixes of which only the index exists."""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rows(command: str, path: Path) -> list[dict[str, object]]:
    result = run(command, path, "--json")
    assert result.exit_code == 0, result.stderr
    found: list[dict[str, object]] = json.loads(result.stdout)
    return found


def verified(path: Path) -> dict[str, object]:
    result = run("verify", path, "--json")
    assert result.exit_code == 0, result.stdout + result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    assert found["whole"]
    return found


@pytest.mark.parametrize("index", INDEXES, ids=relative)
def test_every_bundle_is_listed_and_verified(index: Path) -> None:
    listed = rows("vars", index)
    assert {"name", "shape", "dtype", "bytes", "kind"} <= set(listed[0])
    rows("layers", index)
    if not any(name in str(index) for name in WITHOUT_DATA):
        assert verified(index)["tensors"] == len(listed)


@pytest.mark.parametrize("meta", METAS, ids=relative)
def test_every_meta_shows_ops_and_layers(meta: Path) -> None:
    listed = rows("ops", meta)
    assert listed
    rows("layers", meta)
    rows("vars", meta)
    rows("collections", meta)
    assert verified(meta)["ops"] == len(listed)


@pytest.mark.parametrize("graph", SAVED_MODELS, ids=relative)
def test_every_saved_model_shows_what_it_has(graph: Path) -> None:
    assert rows("ops", graph.parent)
    rows("layers", graph.parent)
    rows("vars", graph.parent)
    verified(graph.parent)


@pytest.mark.parametrize("graph", GRAPHS, ids=relative)
def test_every_frozen_graph_shows_ops_and_layers(graph: Path) -> None:
    assert rows("ops", graph)
    rows("layers", graph)
    rows("vars", graph)
    verified(graph)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 12])
def test_the_archive_of_frozen_graphs(tmp_path: Path, every: int) -> None:
    with tarfile.open(next(CORPUS.glob("frozen_dl4j_1922_graphs/**/*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    graphs = [path for path in tmp_path.rglob("*.pb") if not path.name.startswith("._")]
    assert len(graphs) == COUNT
    for graph in sorted(graphs)[::every]:
        for command in ("ops", "layers"):
            result = run(command, graph)
            assert result.exit_code == 0, result.stderr
        assert run("verify", graph).exit_code == 0


def test_a_shard_that_is_gone_is_named() -> None:
    index = next(CORPUS.glob("broken_missing_shard_t5x/**/*.index"))
    assert rows("vars", index)
    result = run("verify", index)
    assert result.exit_code == 1
    assert "-of-00002" in result.stdout + result.stderr


def test_an_index_without_data_is_listed_and_not_whole() -> None:
    index = next(CORPUS.glob("broken_index_only_deepconsensus/**/*.index"))
    assert len(rows("vars", index)) == 217
    assert run("verify", index).exit_code == 1
