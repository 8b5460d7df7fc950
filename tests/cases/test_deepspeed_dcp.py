"""A model as stored by DeepSpeed, and a folder of torch.distributed.checkpoint."""

import collections
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

import ckpttool


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return collections.OrderedDict(
        {"layers.0.weight": torch.randn(3, 3).half(), "layers.0.bias": torch.randn(3).half()}
    )


def make(folder: Path) -> None:
    model: dict[str, Any] = {"module": state(), "buffer_names": [], "optimizer": None, "dp_world_size": 1}
    shapes = collections.OrderedDict((name, tensor.shape) for name, tensor in state().items())
    model |= {"param_shapes": [shapes], "ds_config": {"train_batch_size": 8}, "ds_version": "0.14.0", "global_steps": 5}
    torch.save(model, folder / "mp_rank_00_model_states.pt")
    flat = torch.cat([tensor.flatten().float() for tensor in state().values()])
    optimizer = {"optimizer_state_dict": {"single_partition_of_fp32_groups": [flat]}, "ds_version": "0.14.0"}
    torch.save(optimizer, folder / "zero_pp_rank_0_mp_rank_00_optim_states.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # written by a single process
        dcp.save({"model": state()}, checkpoint_id=folder / "dcp", no_dist=True)


def values(path: str) -> dict[str, Any]:
    return {name: tensor.read().tolist() for name, tensor in ckpttool.open(path).items()}


def test_the_module_of_deepspeed(folder: Path, run: Callable[[str], str]) -> None:
    assert values("mp_rank_00_model_states.pt") == {name: tensor.tolist() for name, tensor in state().items()}
    assert "5 entries" not in run("ckpttool vars mp_rank_00_model_states.pt")


def test_a_part_of_its_optimizer_holds_no_weights_and_says_so(folder: Path, run: Callable[..., str]) -> None:
    printed = run("ckpttool vars zero_pp_rank_0_mp_rank_00_optim_states.pt")
    assert "skipped" in printed
    assert "optimizer_state_dict" in printed
    said = run("ckpttool convert zero_pp_rank_0_mp_rank_00_optim_states.pt -o nothing.npz", 2)
    assert "contains no tensor that can be read; skipped: optimizer_state_dict" in said
    assert not (folder / "nothing.npz").exists()


@pytest.mark.parametrize("path", ["dcp", "dcp/__0_0.distcp", "dcp/.metadata"])
def test_a_distributed_checkpoint_is_read_by_its_folder_or_a_file_in_it(folder: Path, path: str) -> None:
    assert values(path) == {name: tensor.tolist() for name, tensor in state().items()}


def test_one_without_its_index_is_refused(folder: Path, run: Callable[..., str]) -> None:
    (folder / "dcp" / ".metadata").unlink()
    assert ".metadata of its tensors is missing" in run("ckpttool vars dcp", 2)
