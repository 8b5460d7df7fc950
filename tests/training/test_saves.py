"""Saves of a run, without a run: the latest whole one is found, another run's are rejected, old ones removed."""

from pathlib import Path
from typing import Any

import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, ExistingOutput, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.wire import checked_json
from ckpttool.graph import files
from ckpttool.model.model import write_model
from ckpttool.training.run import Epoch, Position
from ckpttool.training.save_interval import Every
from ckpttool.training.saves import KeptWeights, Saves, asked_before, refuse_saves

MODEL = Path(__file__).parents[2] / "fixtures" / "bundles" / "adam.ckpt-3"
ASKED = {"lr": 0.1, "valid": None, "group": None}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.ckpt"


def saves_of(output: Path, every: str | None = "2 steps", keep: int = 2, **asked: Any) -> Saves:
    return Saves(output, Every.parse(every) if every else None, keep, {**ASKED, **asked})


def epoch(number: int) -> Epoch:
    return Epoch(number, 0.5, 0.25, None, 1.0)


def written(saves: Saves, *steps: int, best: int | None = None) -> None:
    graph, tensors = files.load(MODEL), checkpoint.open(MODEL)
    kept = KeptWeights(epoch(best), graph, tensors, ("hidden/kernel",)) if best else None
    done = [epoch(1)] if best else []
    for step in steps:
        saves.write(graph, tensors, Position(1 + len(done), step, step, 1.5, 0.5, done), kept)


def states(output: Path) -> list[Path]:
    return sorted(Path(f"{output}.saves").glob("*.state.json"))


def test_where_nothing_was_saved_a_run_begins(output: Path) -> None:
    assert saves_of(output).latest() is None
    assert asked_before(output) is None
    refuse_saves(output)


def test_the_latest_is_found_with_all_that_was_saved(output: Path) -> None:
    written(saves_of(output), 2, 4, best=1)
    with pytest.raises(ExistingOutput, match=r"out\.ckpt\.saves has saves of a run: resume with `resume`"):
        refuse_saves(output)
    again = saves_of(output)
    found = again.latest()
    assert found is not None
    assert found.position == Position(2, 4, 4, 1.5, 0.5, [epoch(1)])
    assert again.last == Path(f"{output}.saves/step-00000004.ckpt")
    tensors = checkpoint.open(MODEL)
    for name, tensor in tensors.items():
        assert found.tensors[name].read().tobytes() == tensor.read().tobytes()
    assert found.kept is not None
    assert (found.kept.epoch, found.kept.frozen) == (epoch(1), ("hidden/kernel",))
    assert set(found.kept.tensors) <= set(tensors)
    assert asked_before(output) == ASKED


def test_another_runs_are_not_gone_on_with(output: Path) -> None:
    written(saves_of(output), 2)
    with pytest.raises(
        PlanError, match=r"`resume`: .*step-00000002\.ckpt is of a run with other options: lr was 0\.1, now 0\.2"
    ):
        saves_of(output, lr=0.2).latest()
    with pytest.raises(PlanError, match="more was None, now 1"):
        saves_of(output, more=1).latest()
    assert saves_of(output, more=None).latest() is not None


def test_what_was_asked_for_before_rows_were_drawn(output: Path) -> None:
    written(saves_of(output), 2)
    (state,) = states(output)
    facts = checked_json.loads(state.read_bytes())
    del facts["asked"]["group"]
    state.write_bytes(checked_json.dumps(facts))
    assert saves_of(output, valid="last:10%").latest() is not None


def test_a_state_that_was_changed(output: Path) -> None:
    written(saves_of(output), 2)
    (state,) = states(output)
    state.write_bytes(state.read_bytes().replace(b'"batch": 2', b'"batch": 3'))
    with pytest.raises(CorruptCheckpoint, match="it has changed since it was written"):
        saves_of(output).latest()


def test_a_state_of_another_step(output: Path) -> None:
    written(saves_of(output), 2, 4)
    older, newer = states(output)
    newer.write_bytes(older.read_bytes())
    with pytest.raises(
        CorruptCheckpoint, match=r"step-00000004\.state\.json is damaged: its position is step 2; delete"
    ):
        saves_of(output).latest()


@pytest.mark.parametrize("name", ["step-00000004.ckpt", "best-0001.ckpt"])
def test_checkpoints_of_another_run(output: Path, name: str) -> None:
    """Whole and with the right names, but from elsewhere: the run would end with other weights."""
    written(saves_of(output), 2, 4, best=1)
    folder = Path(f"{output}.saves")
    other = {each: Tensor.of(each, tensor.read() + 1) for each, tensor in checkpoint.open(MODEL).items()}
    write_model(files.load(MODEL), other, folder / name, overwrite=True)
    states(output)[0].unlink()
    said = rf"{name} is not the checkpoint that .*step-00000004\.state\.json was written with; delete step-00000004"
    with pytest.raises(CorruptCheckpoint, match=said):
        saves_of(output).latest()
    for path in folder.glob(f"{name}.*"):
        path.unlink()
    with pytest.raises(CorruptCheckpoint, match=said):
        saves_of(output).latest()


def test_a_state_of_a_version_that_wrote_no_hashes(output: Path) -> None:
    written(saves_of(output), 2, best=1)
    (state,) = states(output)
    facts = checked_json.loads(state.read_bytes())
    del facts["sha256"], facts["kept"]["sha256"]
    state.write_bytes(checked_json.dumps(facts))
    assert saves_of(output).latest() is not None


def test_a_save_without_a_state_does_not_count(output: Path) -> None:
    written(saves_of(output), 2, 4)
    states(output)[1].unlink()
    found = saves_of(output).latest()
    assert found is not None
    assert found.position.step == 2


def test_old_ones_and_what_only_they_kept_are_forgotten(output: Path) -> None:
    saves = saves_of(output)
    written(saves, 2, best=1)
    written(saves, 4, 6, best=2)
    folder = Path(f"{output}.saves")
    assert [path.name for path in states(output)] == ["step-00000004.state.json", "step-00000006.state.json"]
    assert sorted(path.name for path in folder.glob("*.meta")) == [
        *("best-0002.ckpt.meta", "step-00000004.ckpt.meta", "step-00000006.ckpt.meta")
    ]
    saves.end()
    assert len(states(output)) == 2
    again = saves_of(output)
    again.latest()
    written(again, 8, 10, best=2)
    assert [path.name[:13] for path in states(output)] == ["step-00000006", "step-00000008", "step-00000010"]
    again.end()
    assert [path.name[:13] for path in states(output)] == ["step-00000008", "step-00000010"]
    assert (again.done, saves_of(output, None).done) == ([], [folder])
    (folder / "notes.txt").write_text("mine")
    assert saves_of(output, None).done == []
    saves_of(output, None).ended()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    saves_of(output, None).ended()
    assert not folder.exists()


@pytest.mark.parametrize("done", range(1, 9))
def test_what_a_killed_run_was_forgetting_is_forgotten_by_the_next(
    output: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    written(saves_of(output, keep=1), 2, best=1)
    unlink, removed = Path.unlink, list[Path]()

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith(("step-", "best-")) and path.parent.name == "out.ckpt.saves":
            if len(removed) == done:
                raise KeyboardInterrupt
            removed.append(path)
        unlink(path, missing_ok)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", killed)
        written(saves_of(output, keep=1), 4, best=2)
    going_on = saves_of(output, keep=1)
    assert (found := going_on.latest()) and found.position.step == 4
    written(going_on, 6, best=1)  # weights that the killed run may have begun to delete
    going_on.end()

    whole = saves_of(output, keep=1).latest()
    assert whole and whole.kept and set(whole.kept.tensors) <= set(checkpoint.open(MODEL))
    names = {path.name.partition(".")[0] for path in Path(f"{output}.saves").iterdir()}
    assert names == {"step-00000006", "best-0001"}


def test_when_one_is_due() -> None:
    saves = saves_of(Path("x"), "3 steps")
    assert [saves.due(Position(step=step)) for step in (0, 1, 3, 4, 6)] == [False, False, True, False, True]
    assert [saves.steps_left(step) for step in (0, 1, 3)] == [3, 2, 3]
    saves = saves_of(Path("x"), "2 epochs")
    assert [saves.due(Position(number, 0, 9)) for number in (1, 2, 3, 5)] == [True, False, True, True]
    assert not saves.due(Position(3, 1, 9))
    assert saves.steps_left(0) is None
    assert not saves_of(Path("x"), None).due(Position(step=3))
