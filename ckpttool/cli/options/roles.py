"""Options that say which ops of a graph are its inputs, labels, logits, loss, accuracy and training op."""

from functools import wraps
from typing import Any

import click

from ckpttool.cli.options.shared import Command, together

ROLE_OPTIONS = {
    "inputs": "An input placeholder; may be given several times.",
    "labels": "The placeholder of the labels.",
    "logits": "The tensor that the loss compares with the labels.",
    "loss": "The tensor that training makes small.",
    "accuracy": "The tensor of the accuracy.",
    "training": "The boolean placeholder that is True while training.",
}


def roles(command: Command) -> Command:
    """Give a command an option per role, passed on as one mapping `roles` of those that were given."""

    @wraps(command)
    def gathering(**options: Any) -> Any:
        said = {role: options.pop(role) for role in ROLE_OPTIONS}
        return command(roles={role: value for role, value in said.items() if value}, **options)

    members = (
        click.option(f"--{role}", metavar="NAME", multiple=role == "inputs", help=text)
        for role, text in ROLE_OPTIONS.items()
    )
    return together(*members)(gathering)
