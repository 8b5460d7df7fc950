"""Dependencies on Click beyond its documented interface: these tests fail if a new version differs."""

import click
import pytest

from ckpttool.cli.click_private import given_in_order, is_help


class Edit(click.Option):
    pass


def test_the_parser_has_the_order_of_options() -> None:
    options = [Edit(["--keep"], multiple=True), Edit(["--drop-slots"], multiple=True, is_flag=True)]
    command = click.Command("edit", params=[*options, click.Option(["--seed"]), click.Argument(["source"])])
    args = ["--keep", "a", "--drop-slots", "--seed", "7", "x.ckpt", "--keep=b"]
    given = given_in_order(command, click.Context(command), args, Edit)
    assert [(option.name, value) for option, value in given] == [("keep", "a"), ("drop_slots", True), ("keep", "b")]
    assert len(args) == 7  # the caller's list is unchanged: Click parses it again


def test_a_group_without_arguments_raises_its_help() -> None:
    group = click.Group("tool", help="What the tool is for.")
    with pytest.raises(click.UsageError) as raised:
        group.main([], standalone_mode=False)
    assert is_help(raised.value)
    assert "What the tool is for." in raised.value.format_message()
    assert not is_help(click.UsageError("No such option"))
