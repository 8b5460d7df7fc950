"""Preprocessing: what is done to rows before they are fed to a network, a value that is stored with the model as text.

    scale(1/127.5, -1)
    mean(123.68, 116.779, 103.939); bgr()
    resize(96, 96); keras('tf'); age: standardize(mean=40, std=12)

Steps are applied in their order. Those after `NAME:`, up to the next name, are for the input of that name; those before
any name are for the only input, or for the inputs of images if there are several. `parse` and `str` convert between
text and value.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce

from ckpttool.core.calls import Call
from ckpttool.core.errors import PlanError
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Array
from ckpttool.data.preprocessing_steps import Bgr, Nothing, Range, Row, Step

PARAMETER = "`preprocess`"
Steps = tuple[Step, ...]

_NAME = re.compile(r"(?:^|(?<=[;\n]))[ \t]*(?P<name>[^\s:;(),='\"\[\]]+)[ \t]*:", re.MULTILINE)


@dataclass(frozen=True)
class Preprocessing:
    """The steps for inputs without a name, and those for named inputs.

    >>> Preprocessing.parse("mean(123.68, 116.779, 103.939); bgr()").steps
    (Mean(values=(123.68, 116.779, 103.939)), Bgr())
    >>> str(Preprocessing.parse("scale(1 / 127.5, offset=-1); images/age: none"))
    'scale(1/127.5, -1); images/age: none'
    """

    steps: Steps = ()
    named: tuple[tuple[str, Steps], ...] = ()

    @classmethod
    def parse(cls, text: str, parameter: str = PARAMETER) -> "Preprocessing":
        """Parse steps, such as `scale(1/127.5, -1)`; `parameter` names their source in messages.

        Raises:
            PlanError: the text is invalid, a value is invalid, or an input is named twice.
            UnknownName: there is no step of this name, or a step has no parameter of this name.
        """
        names = [(match["name"], match.start(), match.end()) for match in _NAME.finditer(text)]
        if names and len({name for name, *_ in names}) < len(names):
            raise PlanError(f"{parameter} {text!r}: an input is named twice")
        ends = [*(start for _, start, _ in names), len(text)]
        first = text[: ends[0]]
        steps = _read(first, parameter) if first.strip(" \t\n;") or not names else ()
        blank = re.compile(r"[^\n]")  # so that messages have positions in the whole text
        named = (
            (name, _read(blank.sub(" ", text[:begin]) + text[begin:end], f"{parameter} {name}"))
            for (name, _, begin), end in zip(names, ends[1:], strict=True)
        )
        return cls(steps, tuple(named))

    def __str__(self) -> str:
        """Return the text that `parse` reads as an equal value."""
        parts = [notation(self.steps)] if self.steps else []
        return "; ".join([*parts, *(f"{name}: {notation(steps)}" for name, steps in self.named)])

    @classmethod
    def of_steps(cls, steps: Mapping[str, Steps], alone: str | None = None) -> "Preprocessing":
        """Return the preprocessing with these steps by input; those of the only input, `alone`, get no name.

        >>> str(Preprocessing.of_steps({"X": (Bgr(),), "y": (Nothing(),)}, alone="X"))
        'bgr(); y: none'
        """
        return cls(steps.get(alone or "", ()), tuple((name, own) for name, own in steps.items() if name != alone))

    def of_known(self, inputs: Mapping[str, bool], labels: str | None = None) -> dict[str, Steps]:
        """Return the steps by input as `of_inputs` does, ignoring those for inputs that no longer exist."""
        targets = [*inputs, *([labels] if labels else [])]
        named = tuple(each for each in self.named if _targets(each[0], targets))
        return Preprocessing(self.steps, named).of_inputs(inputs, labels)

    def of_inputs(self, inputs: Mapping[str, bool], labels: str | None = None) -> dict[str, Steps]:
        """Return the steps by input; inputs without steps are omitted.

        Args:
            inputs: Whether the rows of each input, by its name, are images.
            labels: The placeholder of the labels, which can be named like an input.

        Raises:
            PlanError: there is no input of a name, or the input of steps without a name is ambiguous.
        """
        targets = [*inputs, *([labels] if labels else [])]
        found = {_target(name, targets): steps for name, steps in self.named}
        if not self.steps:
            return found
        others = [name for name in inputs if name not in found]
        meant = others if len(inputs) == 1 else [name for name in others if inputs[name]]
        if not meant:
            which = f"'{targets[0]}: {notation(self.steps)}'"
            raise PlanError(
                f"{PARAMETER} {notation(self.steps)}: specify the input, one of {', '.join(inputs)}: {which}"
            )
        return {**dict.fromkeys(meant, self.steps), **found}


def shape_after(steps: Iterable[Step], row: Row) -> Row:
    """Return the shape of a row after steps, given the shape before.

    Raises:
        PlanError: a step does not apply to such rows.
    """
    return reduce(lambda shape, step: step.shape(shape), steps, row)


def applied(steps: Iterable[Step], rows: Array) -> Array:
    """Apply steps to stacked rows of floats, which may be overwritten, and return the result.

    >>> import numpy as np
    >>> applied(Preprocessing.parse("scale(1/127.5, -1)").steps, np.array([[0.0, 255.0]])).tolist()
    [[-1.0, 1.0]]

    Raises:
        DataError: a step does not accept a value.
    """
    return reduce(lambda made, step: step.apply(made), steps, rows)


def made_for(steps: Iterable[Step]) -> tuple[Step, Range] | None:
    """Return the first step that changes numbers, and the range that it expects; None if that is not known."""
    first = next((step for step in steps if not (step.arranges or isinstance(step, Bgr | Nothing))), None)
    return (first, first.made_for) if first is not None and first.made_for else None


def _read(text: str, parameter: str) -> Steps:
    return tuple(step for _, step in Step.read_all(text.rstrip(" \t\n;"), parameter, words=True))


def notation(steps: Iterable[Call]) -> str:
    """Return the notation of steps."""
    return "; ".join(map(str, steps))


def _target(name: str, targets: list[str]) -> str:
    """Return the op with this name: its whole name, or its last component if that is unique."""
    found = _targets(name, targets)
    if len(found) != 1:
        problem = f"{PARAMETER}: no input {name}{suggestion(name, targets)}; known: {', '.join(targets)}"
        raise PlanError(problem)
    return found[0]


def _targets(name: str, targets: list[str]) -> list[str]:
    return [name] if name in targets else [each for each in targets if each.rpartition("/")[2] == name]
