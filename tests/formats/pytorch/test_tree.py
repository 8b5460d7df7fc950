"""The names of the tensors in a checkpoint: those of nested modules, ties, and what is nested without end."""

import pytest
import torch
from torch_files import saved, values

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.formats.pytorch import tree
from ckpttool.formats.pytorch.records import Object, Pairs, Storage, View
from ckpttool.formats.pytorch.tree import TRAINING, find

FLOAT = BY_NAME["float32"]
HELD = Storage("0", FLOAT, 6)


class Own(dict):
    """A dict of a class of its own, which a file refers to by name."""


def view(*shape):
    return View(HELD, FLOAT, 0, shape, (1,) * len(shape))


def module(**modules):
    empty = {"_parameters": Pairs(), "_buffers": Pairs(), "_modules": Pairs(modules.items())}
    return Object("own.Net", state=Pairs(empty.items()))


def test_names_of_nested_modules_have_dots_between_them(tmp_path):
    network = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(2, 1)), torch.nn.ModuleList([torch.nn.PReLU()]))
    assert list(values(checkpoint.open(saved(tmp_path / "x.pt", network)))) == list(network.state_dict())
    beside = values(checkpoint.open(saved(tmp_path / "y.pt", {"net": network, "ema": network})))
    assert list(beside) == [*network.state_dict(), *(f"ema/{name}" for name in network.state_dict())]


def test_a_module_within_itself_is_refused():
    endless = module()
    endless.state.get("_modules").append(("inner", endless))
    with pytest.raises(ValueError, match="its modules are nested endlessly"):
        find(endless, {})


def test_views_of_the_same_numbers_are_ties_unless_they_are_empty():
    found = find(Pairs({"a": view(1, 3), "b": view(1, 3), "c": view(3), "d": view(0, 3), "e": view(0, 3)}.items()), {})
    assert found.metadata == {"b": "a"}


def test_as_many_levels_and_values_as_the_limits_are_looked_at(monkeypatch):
    monkeypatch.setattr(tree, "DEPTH_LIMIT", 2)
    assert list(find(Pairs([("a", [[view(1)]])]), {}).tensors) == ["a/0/0"]
    with pytest.raises(ValueError, match="nested endlessly"):
        find(Pairs([("a", [[[view(1)]]])]), {})
    assert list(find(module(a=module(b=module())), {}).tensors) == []
    with pytest.raises(ValueError, match="its modules are nested endlessly"):
        find(module(a=module(b=module(c=module(d=module())))), {})
    monkeypatch.setattr(tree, "VISITS_LIMIT", 3)
    assert len(find(Pairs([("a", [view(1), view(2)])]), {}).tensors) == 2
    with pytest.raises(ValueError, match="nested endlessly"):
        find(Pairs([("a", [view(1), view(2), view(3)])]), {})


def test_an_object_without_tensors_is_named_as_a_whole_and_one_with_an_unread_tensor_by_that(tmp_path):
    import argparse

    sparse = torch.eye(2).to_sparse()
    inside = {
        "plain": argparse.Namespace(lr=0.1, more=argparse.Namespace(seed=1)),
        "unread": argparse.Namespace(n=1, t=sparse),
        "read": argparse.Namespace(n=1, t=torch.ones(1)),
    }
    opened = checkpoint.open(saved(tmp_path / "x.pt", {"model": {"w": torch.ones(1)}, "x": inside}))
    assert list(opened) == ["w", "x/read/t"]
    assert opened.left_out == ("x/plain", "x/unread/t (is sparse)")
    alone = checkpoint.open(saved(tmp_path / "y.pt", [torch.ones(1), argparse.Namespace()]))
    assert alone.left_out == ("1",)


def test_a_checkpoint_may_be_an_object_with_attributes_or_a_dict_of_any_class(tmp_path):
    import argparse

    for value in (argparse.Namespace(w=torch.ones(1), n=3), Own(w=torch.ones(1), n=3)):
        opened = checkpoint.open(saved(tmp_path / "x.pt", value))
        assert (values(opened), opened.metadata) == ({"w": [1]}, {"n": "3"})


def test_numbers_and_texts_beside_weights_are_metadata_if_they_are_short(tmp_path):
    value = {"w": torch.ones(1), "n": (1 << 64) - 1, "long": 1 << 64, "text": "t" * 1000, "book": "t" * 1001}
    inside = {"v": torch.ones(1), "n": (1 << 64) - 1, "long": 1 << 64, "list": [1, "a"], "none": [], "deep": [[1]]}
    opened = checkpoint.open(saved(tmp_path / "x.pt", {**value, "x": inside}))
    assert opened.metadata == {"n": "18446744073709551615", "text": "t" * 1000}
    assert opened.left_out == (
        *("long", "book"),
        "x/n (is not a tensor, but 18446744073709551615)",
        "x/long (is not a tensor, but a long integer)",
        "x/list (is not a tensor, but a list of 2)",
        "x/deep/0 (is not a tensor, but a list of 1)",
    )


def test_a_text_under_the_name_of_a_model_is_none(tmp_path):
    opened = checkpoint.open(saved(tmp_path / "x.pt", {"model": "resnet", "weights": {"w": torch.ones(1)}}))
    assert (list(opened), opened.metadata) == (["w"], {"model": "resnet"})


def test_an_optimizer_is_left_out_under_any_name(tmp_path):
    weight = torch.nn.Parameter(torch.ones(1))
    value = {"model": {"w": weight}, "mine": torch.optim.SGD([weight], 0.1)}
    opened = checkpoint.open(saved(tmp_path / "x.pt", value))
    assert (list(opened), opened.left_out) == (["w"], ("mine",))


def test_the_name_of_a_training_state_may_be_long():
    assert TRAINING.fullmatch("optim_" * 100_000 + "!") is None
    assert TRAINING.fullmatch("a_" * 100_000 + "optimizer_" + "b" * 100_000) is not None
