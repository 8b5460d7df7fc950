"""DeepSpeed's ZeRO folders: hand-made in the form that zero_to_fp32.py reads, and joined without DeepSpeed."""

import collections
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conformance import FolderReadingTests
from referees import ZeroFolders

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile

Shapes = list[dict[str, tuple[int, ...]]]
SHAPES: Shapes = [{"a.weight": (3, 5), "a.bias": (5,)}, {"scale": (), "empty": (0, 3), "head.weight": (7,)}]


def values(shapes: Shapes = SHAPES) -> list[dict[str, torch.Tensor]]:
    at = 0
    made: list[dict[str, torch.Tensor]] = []
    for group in shapes:
        made.append({})
        for name, shape in group.items():
            made[-1][name] = torch.arange(at, at + math.prod(shape), dtype=torch.float32).reshape(shape)
            at += math.prod(shape)
    return made


def padded(flat: torch.Tensor, multiple: int) -> torch.Tensor:
    return torch.cat([flat, torch.full((-len(flat) % multiple,), -1.0)])


def flat_groups(groups: list[dict[str, torch.Tensor]], stage: int, world: int) -> list[list[torch.Tensor]]:
    """Return the flat tensors of each process."""
    if stage < 3:
        flats = [padded(torch.cat([each.reshape(-1) for each in group.values()]), 2 * world) for group in groups]
        return [[flat.chunk(world)[rank].clone() for flat in flats] for rank in range(world)]
    parts = [[padded(each.reshape(-1), world).chunk(world) for each in group.values()] for group in groups]
    return [
        [torch.cat([cut[rank] if len(cut) > rank else cut[0] for cut in group]) for group in parts]
        for rank in range(world)
    ]


def saved(
    folder: Path, stage: int = 2, world: int = 2, shapes: Shapes = SHAPES, model: Any = None, **optimizer: Any
) -> Path:
    """Write a folder as DeepSpeed does."""
    folder.mkdir(exist_ok=True, parents=True)
    groups = values(shapes)
    state = {name: tensor.half() for group in groups for name, tensor in group.items()}
    state |= {"norm.mean": torch.arange(3.0).half(), "norm.steps": torch.tensor(4)}
    named = [collections.OrderedDict((name, tensor.shape) for name, tensor in group.items()) for group in groups]
    frozen = {"frozen.weight": torch.arange(5.0).half()}
    for rank in range(world if stage == 3 else 1):
        pieces = {name: padded(each, world).chunk(world)[rank].clone().half() for name, each in frozen.items()}
        said = {
            "module": state, "buffer_names": ["norm.mean", "norm.steps"], "param_shapes": named,
            "frozen_param_shapes": {"frozen.weight": torch.Size([5])}, "ds_version": "0.16.4", "global_steps": 5,
            "frozen_param_fragments": pieces if stage == 3 else frozen, "shared_params": {"tied.weight": "a.weight"},
        }  # fmt: skip
        name = f"zero_pp_rank_{rank}_mp_rank_00" if stage == 3 else "mp_rank_00"
        torch.save(said | (model or {}), folder / f"{name}_model_states.pt")
    key = "fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"
    for rank, flats in enumerate(flat_groups(groups, stage, world)):
        base = {"state": {0: {"exp_avg": torch.ones(8)}}}
        kept = {"zero_stage": stage, "partition_count": world, key: flats, "optimizer_state_dict": base} | optimizer
        torch.save({"optimizer_state_dict": kept}, folder / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt")
    return folder


class TestZero(FolderReadingTests):
    name = "torch-zero"

    def save(self, tensors: Any, path: Path, overwrite: bool) -> None:
        ZeroFolders().write(path, tensors)


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("world", [1, 2, 3, 11])
def test_weights_are_joined_of_all_processes(tmp_path: Path, stage: int, world: int) -> None:
    opened = checkpoint.open(saved(tmp_path / "global_step5", stage, world))
    trained = {name: tensor for group in values() for name, tensor in group.items()}
    assert (opened.format, opened.framework) == ("torch-zero", "torch")
    for name, tensor in trained.items():
        assert (str(opened[name].dtype), opened[name].shape) == ("float32", tuple(tensor.shape))
        assert np.array_equal(opened[name].read(), tensor.numpy())
        assert b"".join(opened[name].pieces()) == tensor.numpy().tobytes()
    assert opened["frozen.weight"].read().tolist() == [0, 1, 2, 3, 4]
    assert (str(opened["norm.mean"].dtype), int(opened["norm.steps"].read())) == ("float16", 4)
    assert np.array_equal(opened["tied.weight"].read(), opened["a.weight"].read())
    assert opened.ties() == {"tied.weight": "a.weight"}
    assert len(opened) == len(trained) + 4
    assert {"ds_version": "0.16.4", "global_steps": "5"}.items() <= opened.metadata.items()
    assert opened.left_out[0].endswith("_optim_states.pt (an optimizer's state)")


def test_the_folder_of_steps_means_the_latest_one(tmp_path: Path) -> None:
    saved(tmp_path / "run" / "global_step5")
    (tmp_path / "run" / "latest").write_text("global_step5\n")
    assert "a.weight" in checkpoint.open(tmp_path / "run")
    saved(tmp_path / "elsewhere")
    (tmp_path / "run" / "latest").write_text("../elsewhere")
    with pytest.raises(CkptError, match=r"run"):
        checkpoint.open(tmp_path / "run")


def test_stages_that_are_enumerations_and_counts_that_are_lists_are_read(tmp_path: Path) -> None:
    opened = checkpoint.open(saved(tmp_path / "a", partition_count=[1, 2]))
    assert opened["a.bias"].read().tolist() == [15, 16, 17, 18, 19]


def test_the_file_of_a_process_that_is_not_there_is_said(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", world=3)
    (folder / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(MissingFile, match=r"2 files named .* are there, but 3 were written"):
        checkpoint.open(folder)
    (folder / "mp_rank_00_model_states.pt").unlink()
    with pytest.raises(MissingFile, match="lists the weights"):
        checkpoint.open(folder)


def test_models_cut_over_processes_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    (folder / "mp_rank_01_model_states.pt").write_bytes((folder / "mp_rank_00_model_states.pt").read_bytes())
    with pytest.raises(FormatError, match="the model is split over several processes"):
        checkpoint.open(folder)


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(
    "shapes",
    [
        {"a.weight": (3, 6)},
        {"a.weight": (3, 1 << 40)},
        {"a.weight": (-1,)},
        {"a.weight": (1 << 62, 4)},
        {"a.weight": ()},
    ],
    ids=str,
)
def test_shapes_that_do_not_fit_the_files_are_refused(tmp_path: Path, stage: int, shapes: Any) -> None:
    changed = [{**SHAPES[0], **shapes}, SHAPES[1]]
    with pytest.raises(CorruptCheckpoint):
        checkpoint.open(saved(tmp_path / "a", stage, model={"param_shapes": changed}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"single_partition_of_fp32_groups": None}, {"single_partition_of_fp32_groups": [1]}, {"zero_stage": 7},
        {"single_partition_of_fp32_groups": []}, {"partition_count": None}, {"zero_stage": "2"},
        {"single_partition_of_fp32_groups": [torch.ones(4, 4).t(), torch.ones(4)]},
        {"single_partition_of_fp32_groups": [torch.ones(9), torch.ones(3)]},
    ],
    ids=range(8),
)  # fmt: skip
def test_files_that_hold_something_else_are_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(CkptError):
        checkpoint.open(saved(tmp_path / "a", **wrong))


def test_pickles_that_act_are_refused_and_not_run(tmp_path: Path, capsys: Any) -> None:
    class System:
        def __reduce__(self) -> Any:
            import os

            return os.system, ("echo acted",)

    folder = saved(tmp_path / "a", optimizer_state_dict=System())
    with pytest.raises(FormatError, match="never imported or run"):
        checkpoint.open(folder)


def test_a_damaged_part_is_found_in_what_it_holds(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", 3)
    file = folder / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    wanted = np.arange(8, 15, dtype=np.float32).tobytes()
    assert wanted in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(wanted, wanted[::-1]))
    with pytest.raises(CorruptCheckpoint, match=r"a\.weight is damaged"):
        checkpoint.open(folder)["a.weight"].read()


def test_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="folders of DeepSpeed's ZeRO are read only"):
        checkpoint.save({"a": np.zeros(1)}, tmp_path / "x", format="torch-zero")
