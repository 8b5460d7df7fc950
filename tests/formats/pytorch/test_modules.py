"""Whole modules in pickles: the names of their state dict, and what it does not have."""

import pytest
import torch
from torch_files import saved, values

from ckpttool import checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.formats.pytorch import modules
from ckpttool.formats.pytorch.modules import Member, classes_in, holds_tensor, is_module, members
from ckpttool.formats.pytorch.records import Global, Object, Pairs, Storage, View

VIEW = View(Storage("0", BY_NAME["float32"], 1), BY_NAME["float32"], 0, (1,), (1,))


def module(**state):
    parts = {"_parameters": Pairs(), "_buffers": Pairs(), "_modules": Pairs(), **state}
    return Object("own.Net", state=Pairs(parts.items()))


class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.LSTM(2, 3)  # which lists its weights again
        self.weight = torch.nn.Parameter(torch.ones(2))
        self.register_parameter("none", None)
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("passing", torch.zeros(3), persistent=False)
        self.aside, self.steps, self.listed = torch.ones(1), 7, [torch.ones(1)]


def test_a_module_has_what_its_state_dict_has_and_the_rest_is_named(tmp_path):
    network = Own()
    opened = checkpoint.open(saved(tmp_path / "x.pt", network))
    assert values(opened) == {name: tensor.tolist() for name, tensor in network.state_dict().items()}
    said = " (is neither a parameter nor a buffer of its module)"
    assert opened.left_out == (f"passing{said}", f"aside{said}", f"listed{said}")


def test_a_module_has_three_dicts_or_is_of_a_program():
    assert is_module(module())
    assert not is_module(module(_modules=[]))
    assert not is_module(Pairs())
    assert is_module(Object("__torch__.Net", state=Pairs()))
    assert not is_module(Object("__torch__.Net", state=()))
    assert not is_module(Object("own.__torch__.Net", state=Pairs()))


@pytest.mark.parametrize(
    ("value", "holds"),
    [
        (VIEW, True),
        ([1, VIEW], True),
        ([[VIEW]], True),
        ([[[VIEW]]], True),
        ([[[[VIEW]]]], False),
        ((1, "text"), False),
        (Pairs([("a", VIEW)]), True),
        (Object("own.Class", (VIEW,)), True),
        (Object("own.Class", state=Pairs([("a", VIEW)])), True),
        (Object("own.Class", pairs=Pairs([("a", VIEW)])), True),
        (module(_parameters=Pairs([("w", VIEW)])), False),
        ("text", False),
    ],
)
def test_a_tensor_is_looked_for_in_a_few_levels_and_not_in_other_modules(value, holds):
    assert holds_tensor(value) == holds


def test_long_lists_are_looked_into_at_their_beginning(monkeypatch):
    monkeypatch.setattr(modules, "MOST_PARTS", 2)
    assert holds_tensor([1, VIEW])
    assert not holds_tensor([1, 2, VIEW])


def test_buffers_that_are_not_saved_are_told_apart_by_their_names():
    kept = Pairs([("mean", VIEW), ("passing", VIEW)])
    for names in (["passing"], ("passing",)):
        found = list(members(module(_buffers=kept, _non_persistent_buffers_set=names), {}))
        assert [(each.name, each.saved) for each in found] == [("mean", True), ("passing", False)]
    found = list(members(module(_buffers=kept, _non_persistent_buffers_set=None), {}))
    assert [each.saved for each in found] == [True, True]
    same_name = Pairs([("passing", VIEW)])
    found = list(members(module(_parameters=same_name, _non_persistent_buffers_set=["passing"]), {}))
    assert [each.saved for each in found] == [True]


INNER = Object("__torch__.Inner", state=Pairs())
SCRIPTED = Object(
    "__torch__.Net", state=Pairs([("w", VIEW), ("aside", VIEW), ("inner", INNER), ("n", 7), (7, VIEW), ("l", [VIEW])])
)


def test_members_of_a_program_are_saved_if_its_code_lists_them():
    listed = list(members(SCRIPTED, {"Net": ["gone", "w"]}))
    assert listed == [
        Member("w", VIEW, True),
        Member("inner", INNER, True),
        Member("aside", VIEW, False),
        Member("l", [VIEW], False),
    ]
    unknown = list(members(SCRIPTED, {}))
    assert [(each.name, each.saved) for each in unknown] == [
        *(("w", True), ("aside", True), ("inner", True)),
        ("l", False),
    ]


def test_classes_that_are_no_modules_list_nothing():
    code = 'class Fc(Module):\n  __parameters__ = ["w", ]\n\n  w : Tensor\n'
    code += 'class Other(object):\n  __parameters__ = ["x", ]\n'
    assert list(classes_in("", code)) == [("Fc", ["w"])]
    assert list(classes_in("net", code)) == [("net.Fc", ["w"])]
    assert not holds_tensor(Global("own.Class"))
