"""The text of a card: values in a table stay in their cells."""

from pathlib import Path

from ckpttool.reporting.facts import Facts
from ckpttool.reporting.model_card import MOST_LAYERS, card_body


def facts(names: list[str]) -> Facts:
    layers = [{"name": name, "variables": (f"{name}/w",), "parameters": 1000} for name in names]
    tensors = {f"{name}/w": {"bytes": 4000} for name in names}
    frozen = {f"{names[0]}/w": False}
    return Facts(Path("models/a|b.ckpt"), [("path", ""), ("kind", "weights")], layers, tensors, frozen)


def test_names_break_out_of_nothing() -> None:
    text = card_body(facts(["a|b", "<script>", "`c`"]))
    assert r"| a\|b | 1 | 1,000 | 4.0 kB | frozen |" in text
    assert r"| \<script\> |" in text and r"| \`c\` |" in text
    assert text.startswith("# a\\|b.ckpt\n")


def test_of_many_layers_the_scopes_above_are_listed() -> None:
    text = card_body(facts([f"net/block{number}/{layer}" for number in range(MOST_LAYERS - 1) for layer in "ab"]))
    assert "| net/block0 | 2 | 2,000 | 8.0 kB | frozen |" in text
    assert "net/block0/a" not in text
    flat = card_body(facts([f"layer{number}" for number in range(MOST_LAYERS + 2)]))
    assert flat.count("| layer") == MOST_LAYERS + 1, "with the head"
    assert "2 more are not shown." in flat
