"""Drawings: a box is below its predecessors, and lines connect them."""

import re

from ckpttool.core.pages.drawing import Box, drawing


def places(drawn: str) -> dict[str, tuple[int, int]]:
    """The corner of each box by its title."""
    found = re.findall(r'<title>(.*?)</title><rect x="(\d+)" y="(\d+)"', drawn)
    return {name: (int(x), int(y)) for name, x, y in found}


def test_a_box_is_below_all_that_lead_to_it_however_long_the_way_is() -> None:
    boxes = {name: Box(name) for name in ("in", "a", "b", "sum", "label", "loss")}
    lines = [("in", "a"), ("a", "b"), ("b", "sum"), ("in", "sum"), ("sum", "loss"), ("label", "loss")]
    found = places(drawing(boxes, lines, "a"))
    assert all(found[one][1] < found[other][1] for one, other in lines)
    assert found["label"][1] == found["sum"][1], "right above what it leads to"
    assert found["label"][0] != found["sum"][0]


def test_lines_back_move_no_box_and_names_are_escaped() -> None:
    drawn = drawing({"a": Box("<a>", target='"'), "b": Box("b")}, [("a", "b"), ("b", "a")], "<loop>")
    assert drawn.count("<path") == 1
    assert "&lt;a&gt;" in drawn and '<a href="#&quot;">' in drawn and "<loop>" not in drawn


def test_long_names_lack_their_middle() -> None:
    assert ">bert/encode…yer_11/dense<" in drawing({"a": Box("bert/encoder/layer_11/dense")}, [], "a")
