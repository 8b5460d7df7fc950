"""Adding groups of keywords to functions' signatures and docstrings, and checking arguments against them.

Defaults come from `Options`, `Recipe` and `Objective`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar, get_args, get_type_hints

from ckpttool.api.kinds import require_kind
from ckpttool.core.errors import WrongKind
from ckpttool.core.suggestions import suggestion
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options

Function = TypeVar("Function", bound=Callable[..., Any])


def takes(*groups: Any) -> Callable[[Function], Function]:
    """Decorate a function: add groups of keywords to its signature and docstring, and check its arguments.

    The function receives them as `**settings`.
    """
    keywords = {name: hint for group in groups for name, hint in get_type_hints(group, include_extras=True).items()}
    defaults = _defaults()

    def with_keywords(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=get_args(hint)[0]
            )
            for name, hint in keywords.items()
        ]

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            known = {parameter.name for parameter in own} | keywords.keys()
            for name, value in named.items():
                if name not in known:
                    raise WrongKind(f"{function.__name__}() has no keyword {name!r}{suggestion(name, known)}")
                if name in keywords and not (value is None and defaults.get(name) is None):
                    require_kind(name, value, keywords[name])
            return function(*arguments, **named)

        call.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        call.__doc__ = _with_arguments(function.__doc__ or "", keywords, defaults)
        return call  # type: ignore[return-value]

    return with_keywords


def _defaults() -> dict[str, Any]:
    """Return the default of each keyword, from the classes that keywords are converted to."""
    options = {each.name: getattr(Options(), each.name) for each in fields(Options)}
    recipe = {each.name: getattr(Recipe(), each.name) for each in fields(Recipe)}
    return {**options, **recipe, "objective": None, "class_weight": None, "label_smoothing": Objective.label_smoothing}


def _with_arguments(text: str, keywords: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return a docstring with a line per keyword at the end of its `Args:`; dedented, as in Python 3.13."""
    lines = []
    for name, hint in keywords.items():
        default = defaults.get(name)
        told = "" if default is None or default == "" else f" Default: {default!r}."
        lines.append(f"    {name}: {get_args(hint)[1]}{told}")
    before, raises, after = inspect.cleandoc(text).partition("\nRaises:")
    return "\n".join([before.rstrip(), *lines, ""]) + raises + after
