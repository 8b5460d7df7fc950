"""Model soups: averages of the weights of models fine-tuned from the same start, selected by their score on rows.

Greedy soups: Wortsman et al. 2022, Model soups, arXiv:2203.05482. Interpolation between a model and its fine-tuned
version: Wortsman et al. 2022, Robust fine-tuning of zero-shot models (WiSE-FT), arXiv:2109.01903.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.graph.rewrite.inference import in_inference
from ckpttool.graph.roles.resolve import needed_role
from ckpttool.runtime.function import GraphFunction
from ckpttool.runtime.state import State, initial_value
from ckpttool.runtime.streaming import Evaluator, Score
from ckpttool.surgery.average import average
from ckpttool.training.bound import Bound, mode


class Judge:
    """Evaluates a model's graph with other values of its variables, on fixed rows."""

    def __init__(self, bound: Bound) -> None:
        """Initialise with a model bound to the rows of one split.

        Raises:
            GraphError: its loss is unknown.
        """
        roles, arrays = bound.roles, bound.feeds(bound.splits[0])
        graph, constants = bound.model.graph, mode(roles, False)
        wanted = [needed_role(graph, roles, "loss"), *([roles.accuracy] if roles.accuracy else [])]
        fed = [*arrays, *constants]
        self._function = GraphFunction(
            in_inference(graph, wanted, fed).graph, wanted, fed, modes=constants, scaled=False
        )
        self._state = State(self._function.variables, bound.model.checkpoint)
        self._evaluator = Evaluator(self._function, self._state, constants)
        self._arrays, self._rows = arrays, bound.splits[0].rows

    def score(self, values: Mapping[str, Tensor]) -> Score:
        """Return the mean loss and accuracy over all rows, with these values.

        Raises:
            PlanError: the value of a variable is missing, or has another shape.
        """
        self._state.write({each.op: initial_value(each, values) for each in self._function.variables})
        return self._evaluator.score(self._arrays, self._rows)


def worth(score: Score) -> tuple[float, float]:
    """Return the key for comparing scores, larger is better: the accuracy, if there is one, then the negative loss.

    >>> worth(Score(10, 0.5, 0.9)) > worth(Score(10, 0.6, 0.9)) > worth(Score(10, 0.1, 0.8))
    True
    """
    return (-score.loss if score.accuracy is None else score.accuracy), -score.loss


@dataclass(frozen=True)
class Soup:
    """Which of several models are averaged, in the order of their addition; the scores of each and of the average."""

    chosen: tuple[int, ...]
    alone: tuple[Score, ...]
    score: Score


def greedy_soup(judge: Judge, models: Sequence[Checkpoint]) -> Soup:
    """Start with the best model, then add the others, best first, if the average does not get worse.

    Raises:
        PlanError: there are fewer than two models, or their variables differ.
    """
    if len(models) < 2:
        raise PlanError(f"{counted(len(models), 'model')} for a soup, expected two or more")
    alone = tuple(judge.score(model) for model in models)
    first, *others = sorted(range(len(models)), key=lambda number: worth(alone[number]), reverse=True)
    chosen, score = [first], alone[first]
    for number in others:
        mixed = judge.score(average([models[each] for each in (*chosen, number)]))
        if worth(mixed)[0] >= worth(score)[0]:
            chosen, score = [*chosen, number], mixed
    return Soup(tuple(chosen), alone, score)


def between(start: Checkpoint, tuned: Checkpoint, alpha: float) -> Checkpoint:
    """Return the weights interpolated between a model and its fine-tuned version.

    >>> import numpy as np
    >>> start, tuned = (Checkpoint.of({"fc/bias": np.array([value])}) for value in (0.0, 4.0))
    >>> between(start, tuned, 0.25)["fc/bias"].read().tolist()
    [1.0]
    """
    return average([start, tuned], (1 - alpha, alpha))


def parse_alphas(text: str) -> list[float]:
    """Parse interpolation coefficients: one, several separated by commas, or a range START:STOP:STEP such as `0:1:0.1`.

    >>> parse_alphas("0:1:0.25"), parse_alphas("0.5,0.7")
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.5, 0.7])

    Raises:
        PlanError: the text has another form.
    """
    expected = PlanError(f"`alpha` {text!r}: expected numbers from 0 to 1, such as 0.5, 0.3,0.7 or 0:1:0.1")
    try:
        if ":" not in text:
            found = [float(part) for part in text.split(",")]
        else:
            first, last, step = (float(part) for part in text.split(":"))
            if not 0 < step <= 1:
                raise expected
            found = [round(first + number * step, 9) for number in range(int((last - first) / step + 1e-9) + 1)]
    except ValueError:
        raise expected from None
    if not found or not all(0 <= each <= 1 for each in found):
        raise expected
    return found
