"""A graph is known by its content, wherever it is."""

import shutil
from pathlib import Path

from ckpttool.model.known_graphs import KnownGraphs

MODEL = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"


def test_a_noted_graph_is_known_under_any_name_until_it_changes(tmp_path: Path) -> None:
    known = KnownGraphs(tmp_path / "state" / "known.txt")
    copy = tmp_path / "copy.meta"
    shutil.copy(f"{MODEL}.meta", copy)
    assert not known.has(MODEL)
    known.add(MODEL)
    assert known.has(MODEL)
    assert known.has(copy)
    copy.write_bytes(copy.read_bytes() + b"\0")
    assert not known.has(copy)


def test_it_is_noted_once(tmp_path: Path) -> None:
    known = KnownGraphs(tmp_path / "known.txt")
    known.add(MODEL)
    known.add(MODEL)
    assert len(known.file.read_text().split()) == 1


def test_what_is_no_graph_is_not_noted_and_an_architecture_is_known(tmp_path: Path) -> None:
    known = KnownGraphs(tmp_path / "known.txt")
    known.add(tmp_path / "absent.ckpt")
    assert not known.file.exists()
    assert not known.has(tmp_path / "absent.ckpt")
    assert known.has(Path("keras:MobileNetV2"))


def test_outputs_that_are_no_graphs_are_not_noted(tmp_path: Path) -> None:
    known = KnownGraphs(tmp_path / "known.txt")
    for name in ("report.html", "plot.png", "rows.npz", "weights.safetensors"):
        (tmp_path / name).write_bytes(b"a file")
        known.add(tmp_path / name)
        assert not known.has(tmp_path / name)
