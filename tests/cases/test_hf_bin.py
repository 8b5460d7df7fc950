"""A Hugging Face model as `pytorch_model.bin`: the result meets the requirements of safetensors' readers."""

from pathlib import Path

import numpy as np
import pytest


def make(folder: Path) -> None:
    """A state dict as saved by transformers, with one kernel tied to the embedding."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    embedding = torch.randn(20, 8)
    state = {
        "embeddings.word_embeddings.weight": embedding,
        "encoder.layer.0.attention.self.query.weight": torch.randn(8, 8),
        "encoder.layer.0.output.LayerNorm.bias": torch.randn(8, dtype=torch.float16),
        "embeddings.position_ids": torch.arange(16)[None],
        "cls.predictions.decoder.weight": embedding,
    }
    torch.save(state, folder / "pytorch_model.bin")


def test_the_metadata_says_pt_and_every_tensor_is_that_of_pytorch(folder, run):
    import torch

    safetensors = pytest.importorskip("safetensors")
    run("ckpttool convert pytorch_model.bin -o model.safetensors")
    state = torch.load("pytorch_model.bin", weights_only=True)
    with safetensors.safe_open("model.safetensors", "pt") as file:
        assert file.metadata()["format"] == "pt"
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            assert torch.equal(file.get_tensor(name), state[name])
        missing = set(state) - set(file.keys())
        assert missing <= {"cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"}
        assert all(name in file.metadata() for name in missing)


def test_a_sharded_output_says_it_in_each_file(folder, run):
    safetensors = pytest.importorskip("safetensors")
    run("ckpttool convert pytorch_model.bin --shard-size 600 -o model.safetensors")
    files = sorted(Path().glob("model-*.safetensors"))
    assert len(files) > 1
    for path in files:
        with safetensors.safe_open(path, "np") as file:
            assert file.metadata()["format"] == "pt"


def test_numbers_survive_the_way_through_a_checkpoint_of_tensorflow(folder, run):
    import torch

    run("ckpttool convert pytorch_model.bin -o model.ckpt")
    run("ckpttool convert model.ckpt -o back.npz")
    state = torch.load("pytorch_model.bin", weights_only=True)
    with np.load("back.npz") as back:
        assert set(back) == set(state)
        for name in back:
            np.testing.assert_array_equal(back[name], state[name].numpy())
