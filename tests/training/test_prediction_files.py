"""Files of predictions: whole or absent, and rejected if rows do not fit the format."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import CorruptCheckpoint, GraphError, PlanError
from ckpttool.training import prediction_files
from ckpttool.training.prediction_files import write_predictions


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_a_failure_on_the_way_leaves_nothing_behind(tmp_path: Path, suffix: str) -> None:
    def parts() -> Iterator[dict[str, Any]]:
        yield {"rows": np.arange(3), "outputs": np.ones((3, 2), np.float32)}
        raise GraphError("no more")

    with pytest.raises(GraphError, match="no more"):
        write_predictions(tmp_path / f"out{suffix}", parts(), overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_a_csv_has_no_place_for_images(tmp_path: Path) -> None:
    parts = [{"rows": np.arange(3), "outputs": np.ones((3, 2, 2), np.float32)}]
    with pytest.raises(PlanError, match=r"out.csv: outputs of \[2, 2\] for a row do not fit .* an .npz has them"):
        write_predictions(tmp_path / "out.csv", parts, overwrite=False)
    assert list(tmp_path.iterdir()) == []
    assert write_predictions(tmp_path / "out.npz", parts, overwrite=False)["outputs"] == (3, 2, 2)


def test_a_csv_that_reads_back_differently_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [{"rows": np.arange(3), "outputs": np.ones((3, 2), np.float32)}]
    assert write_predictions(tmp_path / "old.csv", parts, overwrite=False) == {"rows": (3,), "outputs": (3, 2)}
    crc_of = prediction_files._crc_of

    def after_damage(path: Path) -> int:
        path.write_bytes(path.read_bytes().replace(b"1", b"7", 1))
        return crc_of(path)

    monkeypatch.setattr(prediction_files, "_crc_of", after_damage)
    with pytest.raises(CorruptCheckpoint, match=r"out\.csv.*: what was read back is not what was written"):
        write_predictions(tmp_path / "out.csv", parts, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]
