"""BERT from keras-hub and transformers becomes google-research's graph, with the libraries' outputs.

The files and the outputs are fixtures, so that the tests need neither library.
"""

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
BERTS, GRAPHS = (runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py")) for name in ("berts", "networks"))
FILES = ROOT / "fixtures" / "bert"
LAYERS, WIDTH, HEADS, TOKENS, POSITIONS = 2, 12, 3, 20, 8
EXACT, APPROXIMATE = False, True


def graph(gelu: bool) -> Callable[[Any], tuple[Any, Any]]:
    """Return a builder of the network without heads."""
    return lambda tf1: BERTS["bert_graph"](tf1, LAYERS, WIDTH, HEADS, TOKENS, POSITIONS, gelu)


def backbone(tf1: Any) -> None:
    graph(APPROXIMATE)(tf1)


def masked(tf1: Any) -> None:
    rows, _ = graph(APPROXIMATE)(tf1)
    BERTS["masked_head"](tf1, rows, TOKENS, 1e-5)


def classifier(tf1: Any) -> None:
    _, pooled = graph(APPROXIMATE)(tf1)
    BERTS["class_head"](tf1, pooled, 3)


def pretraining(tf1: Any) -> None:
    rows, pooled = graph(EXACT)(tf1)
    BERTS["masked_head"](tf1, rows, TOKENS)
    BERTS["class_head"](tf1, pooled, 2, "cls/seq_relationship")


def sequence(tf1: Any) -> None:
    _, pooled = graph(EXACT)(tf1)
    BERTS["class_head"](tf1, pooled, 3)


class Case(NamedTuple):
    """A file, its rules and graph, and the op for each of the library's outputs."""

    file: str
    rules: str
    build: Callable[[Any], None]
    answers: dict[str, str]


CASES = [
    Case("hub_backbone.weights.h5", "bert-keras-tf1", backbone, {"hub_backbone": "answer"}),
    Case("hub_masked.weights.h5", "bert-keras-tf1", masked, {"hub_backbone": "answer", "hub_masked": "masked"}),
    Case("hub_classifier.weights.h5", "bert-keras-tf1", classifier, {"hub_classifier": "classes"}),
    Case("keras_pretraining.h5", "bert-keras-tf1", pretraining, {"keras_masked": "masked", "keras_next": "classes"}),
    Case("keras_sequence.h5", "bert-keras-tf1", sequence, {"keras_sequence": "classes"}),
    Case("torch_pretraining.bin", "bert-pytorch-tf1", pretraining, {"torch_masked": "masked", "torch_next": "classes"}),
    Case("torch_sequence.safetensors", "bert-pytorch-tf1", sequence, {"torch_sequence": "classes"}),
]


def imported(shell: Any, folder: Path, case: Case) -> Path:
    """Import a case's file into its graph; return the prefix."""
    into, out = GRAPHS["exported"](folder / "graph.meta", case.build), folder / "imported.ckpt"
    shell.run("import", FILES / case.file, "--into", into, "--rules", case.rules, "-o", out)
    return out


@pytest.mark.parametrize("case", CASES, ids=[case.file for case in CASES])
def test_the_answers_are_those_of_the_library(shell: Any, tmp_path: Path, case: Case) -> None:
    out, sample = imported(shell, tmp_path, case), np.load(FILES / "answers.npz")
    for key, op in case.answers.items():
        found = GRAPHS["answer"](out, {"ids:0": sample["ids"], "types:0": sample["types"]}, op)
        assert np.abs(found - sample[key]).max() < 1e-5 * np.abs(sample[key]).max()


@pytest.mark.parametrize("case", CASES[:3], ids=[case.file for case in CASES[:3]])
def test_the_way_back_gives_the_bytes(shell: Any, tmp_path: Path, case: Case) -> None:
    """Into a file of the same network with zeros, whose structure Keras loads."""
    out, like, back = imported(shell, tmp_path, case), tmp_path / "like.weights.h5", tmp_path / "back.weights.h5"
    shutil.copy(FILES / case.file, like)
    with h5py.File(like, "r+") as file:
        for name in tensors(file):
            file[name][...] = 0
    shell.run("export", out, "--rules", case.rules, "--like", like, "-o", back)
    with h5py.File(FILES / case.file) as expected, h5py.File(back) as found:
        assert tensors(found) == tensors(expected)
        assert all(found[name][()].tobytes() == expected[name][()].tobytes() for name in tensors(expected))


@pytest.mark.parametrize("case", CASES[5:], ids=[case.file for case in CASES[5:]])
def test_the_way_back_to_pytorch_gives_the_bytes(shell: Any, tmp_path: Path, case: Case) -> None:
    """Also of tied weights, which may be in a file twice: PyTorch would load whichever is last."""
    out, like, back = imported(shell, tmp_path, case), tmp_path / "like.pt", tmp_path / "back.safetensors"
    expected = load_file(FILES / case.file) if case.file.endswith("safetensors") else torch.load(FILES / case.file)
    torch.save({name: torch.zeros_like(tensor) for name, tensor in expected.items()}, like)
    shell.run("export", out, "--rules", case.rules, "--like", like, "-o", back)
    found = load_file(back)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }


def test_from_pytorch_to_keras_through_a_graph(shell: Any, tmp_path: Path) -> None:
    """A transformers classifier becomes one of keras-hub, with equal outputs, as the graph defines its GELU."""
    torch_case, keras_case = CASES[6], CASES[2]
    out, back = imported(shell, tmp_path, torch_case), tmp_path / "back.weights.h5"
    shell.run("export", out, "--rules", keras_case.rules, "--like", FILES / keras_case.file, "-o", back)
    again, sample = tmp_path / "again.ckpt", np.load(FILES / "answers.npz")
    shell.run("import", back, "--into", tmp_path / "graph.meta", "--rules", keras_case.rules, "-o", again)
    found = GRAPHS["answer"](again, {"ids:0": sample["ids"], "types:0": sample["types"]}, "classes")
    assert np.abs(found - sample["torch_sequence"]).max() < 1e-5 * np.abs(sample["torch_sequence"]).max()


def tensors(file: Any) -> list[str]:
    """Return the names of all datasets of a file except the optimizer's."""
    found: list[str] = []
    file.visititems(lambda name, member: found.append(name) if isinstance(member, h5py.Dataset) else None)
    return [name for name in found if not name.startswith("optimizer/")]
