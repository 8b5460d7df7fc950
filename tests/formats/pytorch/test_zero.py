"""DeepSpeed's ZeRO folders: hand-made in the form that zero_to_fp32.py reads, and joined without DeepSpeed."""

import collections
import enum
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conformance import FolderReadingTests
from referees import ZeroFolders

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.pytorch import zero
from ckpttool.formats.pytorch.zero import Zero
from ckpttool.formats.pytorch.zero_files import Saved

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


def test_ties_are_of_weights_that_are_there_and_of_names_that_are_free(tmp_path: Path) -> None:
    shared = {"tied": "a.weight", "a.bias": "a.weight", "x": "nothing", 3: "a.weight", "y": 3}
    opened = checkpoint.open(saved(tmp_path / "a", model={"shared_params": shared}))
    assert opened.ties() == {"tied": "a.weight"}
    assert opened["a.bias"].read().tolist() == [15, 16, 17, 18, 19]
    assert set(opened) >= {"a.weight", "tied"}
    assert not {"x", "y"} & set(opened)


def test_a_frozen_weight_may_be_stored_in_any_order_of_axes(tmp_path: Path) -> None:
    turned = {"frozen_param_shapes": {"f": (3, 2)}, "frozen_param_fragments": {"f": torch.arange(6.0).reshape(2, 3).T}}
    assert checkpoint.open(saved(tmp_path / "a", model=turned))["f"].read().tolist() == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"frozen_param_fragments": {}}, "frozen.weight is declared as frozen, but is missing"),
        ({"frozen_param_shapes": {"frozen.weight": (4,)}}, r"frozen.weight is \[5\], expected \[4\]"),
        (
            {"frozen_param_shapes": {"norm.mean": (3,)}, "frozen_param_fragments": {"norm.mean": torch.ones(3)}},
            "two weights are named norm.mean",
        ),
        ({"param_shapes": [SHAPES[0]]}, "it has 1 groups of weights, the optimizers' files have a different number"),
        ({"param_shapes": [3]}, "param_shapes is not a list of dicts"),
        ({"param_shapes": [{7: (3, 5)}, {}]}, r"a weight is declared by '7' and \(3, 5\)"),
        ({"param_shapes": [{"w": 3}, {}]}, "a weight is declared by 'w' and 3"),
        ({"param_shapes": [{"w": (1.5,)}, {}]}, r"a weight is declared by 'w' and \(1.5,\)"),
        ({"param_shapes": [{"w": (1 << 40, 1 << 40)}, {}]}, "w has the impossible shape"),
    ],
    ids=range(9),
)
def test_a_model_that_cannot_be_is_damaged(tmp_path: Path, model: Any, says: str) -> None:
    with pytest.raises(CorruptCheckpoint, match=says):
        checkpoint.open(saved(tmp_path / "a", model=model))


def test_a_part_that_is_not_flat_is_damaged_and_one_that_repeats_its_bytes_refused(tmp_path: Path) -> None:
    key, turned = "single_partition_of_fp32_groups", torch.ones(4, 4).t()
    with pytest.raises(CorruptCheckpoint, match="a part of the weights is not flat, or not float32"):
        checkpoint.open(saved(tmp_path / "a", **{key: [turned, torch.ones(4)]}))
    with pytest.raises(FormatError, match="a tensor repeats the 4 bytes of its storage"):
        checkpoint.open(saved(tmp_path / "b", **{key: [torch.ones(1).expand(1 << 30), torch.ones(4)]}))


def test_a_file_that_is_no_dict_is_damaged(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    torch.save([1], folder / "mp_rank_00_model_states.pt")
    with pytest.raises(CorruptCheckpoint, match="expected a dict, as in files of DeepSpeed"):
        checkpoint.open(folder)


def test_a_bool_that_is_neither_is_damaged(tmp_path: Path) -> None:
    twos = torch.full((3,), 2, dtype=torch.uint8).view(torch.bool)
    opened = checkpoint.open(saved(tmp_path / "a", model={"module": {"flags": twos}, "buffer_names": ["flags"]}))
    with pytest.raises(CorruptCheckpoint, match="flags contains a bool that is neither 0 nor 1"):
        opened["flags"].read()


def test_what_is_left_out_of_the_optimizers_is_verified_too(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a", optimizer_state_dict={"state": {0: {"exp_avg": torch.full((8,), 0.125)}}})
    assert not [each.problem for each in Zero().verify(folder) if each.problem]
    file, eighths = folder / "zero_pp_rank_1_mp_rank_00_optim_states.pt", np.full(8, 0.125, np.float32).tobytes()
    file.write_bytes(file.read_bytes().replace(eighths, bytes(32)))
    (problem,) = (each.problem for each in Zero().verify(folder) if each.problem)
    assert "damaged" in problem


@pytest.mark.parametrize(
    ("limit", "most", "says"),
    [
        ("MOST_FILES", 1, "has over 1 files of processes"),
        ("UNPACKED_LIMIT", 9, "its weights are declared with 196 bytes"),
    ],
)
def test_files_and_bytes_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, says: str
) -> None:
    folder = saved(tmp_path / "a")
    monkeypatch.setattr(zero, limit, most)
    monkeypatch.setattr(zero, "RATIO_LIMIT", 0 if limit == "UNPACKED_LIMIT" else zero.RATIO_LIMIT)
    with pytest.raises(FormatError, match=says):
        checkpoint.open(folder)


def test_a_name_of_the_latest_that_is_too_long_is_ignored(tmp_path: Path) -> None:
    saved(tmp_path / "run" / "global_step5")
    (tmp_path / "run" / "latest").write_text("global_step5" + "\n" * 10)
    assert Zero().recognises(tmp_path / "run")
    (tmp_path / "run" / "latest").write_text("global_step5" * 1000)
    assert not Zero().recognises(tmp_path / "run")
    assert not Zero().recognises(tmp_path)


class ZeroStageEnum(int, enum.Enum):
    """DeepSpeed's stages, which it saves instead of numbers."""

    WEIGHTS = 3


class Pair(enum.Enum):
    BOTH = 3, 4

    def __reduce_ex__(self, _: Any) -> Any:
        return Pair, self.value


def test_stages_that_are_enumerations_are_numbers_and_other_objects_are_not(tmp_path: Path) -> None:
    opened = checkpoint.open(saved(tmp_path / "a", 3, zero_stage=ZeroStageEnum.WEIGHTS))
    assert opened["a.bias"].read().tolist() == [15, 16, 17, 18, 19]
    folder = saved(tmp_path / "b")
    file = folder / "zero_pp_rank_0_mp_rank_00_optim_states.pt"
    for value, number in ((ZeroStageEnum.WEIGHTS, 3), (Pair.BOTH, -1), ([1, "2"], 1), ("3", -1), (None, -1)):
        torch.save({"optimizer_state_dict": {"zero_stage": value}}, file)
        assert Saved(file).number("zero_stage") == number
    assert Saved(file).number("partition_count") == -1


def rewritten(file: Path, part: str, content: bytes | None) -> None:
    """Replace a member of a zip, or remove it."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            if not name.endswith(part):
                archive.writestr(name, data)
            elif content is not None:
                archive.writestr(name, content)


def test_a_file_of_a_big_endian_machine_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "a")
    rewritten(folder / "zero_pp_rank_1_mp_rank_00_optim_states.pt", "/byteorder", b"big")
    with pytest.raises(FormatError, match=r"rank_1.*: it was written on a big-endian machine, which is not supported"):
        checkpoint.open(folder)


@pytest.mark.parametrize("content", [None, b"1234"])
def test_a_storage_that_is_missing_or_short_is_found_before_anything_is_read(
    tmp_path: Path, content: bytes | None
) -> None:
    folder = saved(tmp_path / "a")
    rewritten(folder / "zero_pp_rank_1_mp_rank_00_optim_states.pt", "/data/0", content)
    with pytest.raises(CorruptCheckpoint, match="rank_1"):
        checkpoint.open(folder)
