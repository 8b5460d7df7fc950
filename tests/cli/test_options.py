"""Options that are combined into values: what a command receives, and that nothing is given twice."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ckpttool.cli import COMMANDS, main
from ckpttool.cli.options.decorators import as_value, together
from ckpttool.cli.options.recipe import reuse_recipe_options
from ckpttool.cli.options.rows import roles_options
from ckpttool.cli.options.training import rate_test_options, run_options
from ckpttool.core.errors import PlanError
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.options import Options


def passed(options: Any, *arguments: str) -> dict[str, Any]:
    """The arguments that a command with these options receives."""
    seen: dict[str, Any] = {}

    @click.command()
    @options
    def command(**values: Any) -> None:
        seen.update(values)

    CliRunner().invoke(command, arguments, catch_exceptions=False)
    return seen


def test_options_are_listed_in_their_order_and_passed_as_one_value() -> None:
    def size(height: int, width: int) -> tuple[int, int]:
        return height, width

    names = [click.option(f"--{name}", type=int, default=1) for name in ("width", "height", "depth")]
    options = as_value("size", size, *names)
    assert passed(options, "--width", "3") == {"size": (1, 3), "depth": 1}
    shown = CliRunner().invoke(click.command("draw")(options(lambda **_: None)), ["--help"]).stdout
    assert [line.split()[0] for line in shown.splitlines() if "INTEGER" in line] == ["--width", "--height", "--depth"]


def test_an_option_of_the_commands_own_is_not_taken_for_one_of_the_value_that_has_its_name() -> None:
    own = together(click.option("--ema", is_flag=True), reuse_recipe_options)
    assert passed(own, "--lr", "0.1", "--ema") == {"ema": True, "recipe": Recipe(lr="0.1")}


def test_a_value_may_be_made_of_values() -> None:
    number = as_value("number", lambda a, b: a + b, click.option("--a", type=int), click.option("--b", type=int))
    text = as_value("text", lambda number, c: f"{number}{c}")
    assert passed(together(number, click.option("--c"), text), "--a=1", "--b=2", "--c=x") == {"text": "3x"}


@pytest.mark.parametrize("options", [run_options, rate_test_options])
def test_a_run_without_options_has_the_defaults_of_the_library(options: Any) -> None:
    assert passed(options)["options"] == Options()


def test_every_field_of_a_run_has_an_option() -> None:
    text = [
        "--freeze=h",
        "--train=o",
        "--unfreeze=u",
        "--stages=h=1",
        "--bn=stats",
        "--dropout=0.1",
        "--features=X",
        "--augment=flip()",
        "--preprocess=scale(2)",
    ]
    numbers = ["--epochs=2", "--batch-size=3", "--seed=4", "--threads=5", "--valid=6", "--cache-augment=7", "--group=g"]
    kept = [
        f"--classes={__file__}",
        "--early-stopping=8",
        "--keep=last",
        "--save-every=1 epoch",
        "--keep-checkpoints=9",
        "--cache-dir=x",
    ]
    values = ["--cache", "--image-shape=28,28", "--lr=0.5", "--objective=hinge", "--loss=loss", "--lp-ft=2"]
    values += [f"--teacher={__file__}", "--temperature=3", "--teacher-weight=0.7"]
    options = passed(run_options, *text, *numbers, *kept, *values)["options"]
    same = [each.name for each in fields(Options) if getattr(options, each.name) == getattr(Options(), each.name)]
    assert same == []
    assert (options.recipe, options.objective, options.roles) == (
        Recipe(lr="0.5"),
        Objective("hinge"),
        {"loss": "loss"},
    )


def test_what_is_recorded_and_resumed_stands_beside_the_options() -> None:
    values = passed(run_options, "--plot=x.png", "--tensorboard=logs", "--resume")
    assert values == {"options": Options(), "recording": Recording(Path("logs"), Path("x.png")), "resume": True}


def test_the_graphs_own_training_op_takes_the_place_of_a_recipe() -> None:
    options = passed(run_options, "--train-op=train", "--labels=y")["options"]
    assert options == Options(recipe=None, roles={"labels": "y", "training_op": "train"})
    with pytest.raises(PlanError, match=r"`training_op` .* trains as it was made to: leave `lr`, `l2` out"):
        passed(run_options, "--train-op=train", "--lr=1", "--l2=1")


def test_roles_are_those_that_were_given() -> None:
    assert passed(roles_options) == {"roles": {}}
    assert passed(roles_options, "--inputs=a", "--inputs=b", "--loss=c") == {
        "roles": {"inputs": ("a", "b"), "loss": "c"}
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_no_two_parameters_of_a_command_share_a_name(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    names = [option for each in command.params for option in each.opts]
    assert len(names) == len(set(names))
    assert len({each.name for each in command.params}) == len(command.params)
