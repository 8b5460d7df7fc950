"""The schema with which editors check plans: it accepts each documented plan and every step, and no others."""

import re
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from ckpttool.plans.kinds import KINDS
from ckpttool.plans.schema import schema
from ckpttool.surgery.edits import EDITS
from ckpttool.surgery.merge import HOWS

ROOT = Path(__file__).parents[2]
VALIDATOR = Draft202012Validator(schema())
PAGES = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").rglob("*.md"))]
PLANS = [text for page in PAGES for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL) if "[[step]]" in text]
PLANS += [path.read_text() for path in sorted((ROOT / "fixtures").glob("*.toml")) if "[[step]]" in path.read_text()]


def takes(*steps, **plan):
    return VALIDATOR.is_valid({"step": list(steps), **plan})


def test_it_is_a_schema():
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("text", PLANS, ids=range(len(PLANS)))
def test_documented_plans_are_taken(text):
    VALIDATOR.validate(tomllib.loads(text))


def test_there_are_documented_plans():
    assert len(PLANS) >= 2


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_a_step(name):
    assert takes({name: "fc=0.5", "slots": True, "on": "a", "as": "b", "for": "layer_{i}"})
    assert takes({name.replace("-", "_"): True})
    assert not takes({name: 3})
    assert not takes({name: "fc", "cast" if name != "cast" else "scale": "float16"})


@pytest.mark.parametrize(
    "step",
    [
        *({"merge": ["a", "b"], "how": how, "base": "c", "weights": [1, 0.5], "scale": 0.3} for how in HOWS),
        {"merge": ["a", "b"], "scale": ["0.3", "head=1"], "density": "{part}"},
        {"average": ["a", "b"], "decay": 0.5, "lenient": True},
        {"assert": "fc", "shape": ["?", 3, "{width}"], "norm": [0, 1], "equals": "b", "within": 1e-6},
        {"assert": ".*", "count": "{count}", "exactly": ["fc/kernel"], "dtype": "float16", "finite": True},
    ],
)
def test_other_steps_are_taken(step):
    assert takes(step)


@pytest.mark.parametrize(
    "step",
    [
        {},
        {"renmae": "a=>b"},
        {"on": "a"},
        {"merge": ["a", "b"], "cast": "float16"},
        {"merge": "a"},
        {"merge": ["a", "b"], "how": "melt"},
        {"average": ["a", "b"], "how": "linear"},
        {"assert": "fc", "count": "three"},
        {"assert": "fc", "finite": "yes"},
        {"scale": 0.5},
        "drop-slots",
    ],
)
def test_what_is_no_step_is_refused(step):
    assert not takes(step)


def test_sources_and_variables():
    step = {"drop-slots": True}
    assert takes(step, sources=["base"], variables={"width": 3, "name": "x", "part": 0.5})
    assert takes(step, sources={"a": "a.ckpt", "b": {"path": "b.ckpt", "sha256": "0" * 64}})
    assert not takes(step, sources={"a": 3})
    assert not takes(step, sources={"a": {"file": "a.ckpt"}})
    assert not takes(step, variables={"on": True})
    assert not takes(step, steps=[])
    assert not VALIDATOR.is_valid({"step": []})


def test_it_has_each_kind_of_step():
    assert len(schema()["properties"]["step"]["items"]["anyOf"]) == len(KINDS)
