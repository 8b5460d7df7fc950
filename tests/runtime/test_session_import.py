"""Both of the chapter's ways to load foreign weights into a live session (11.2.2)."""

from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.session_import import assign_with_placeholders, feed_for_assigns

WEIGHTS: dict[str, Any] = {"hidden1/kernel": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "hidden1/bias": [7.0, 8.0, 9.0]}
ANSWER = [[61.0, 83.0, 105.0]]


class Live:
    """The chapter's graph in a session."""

    def __init__(self, resource: bool) -> None:
        self.tf1 = tensorflow().compat.v1
        self.graph = self.tf1.Graph()
        with self.graph.as_default(), self.tf1.variable_scope("hidden1", use_resource=resource):
            self.X = self.tf1.placeholder(self.tf1.float32, (None, 2))
            kernel, bias = self.tf1.get_variable("kernel", (2, 3)), self.tf1.get_variable("bias", (3,))
            self.hidden1 = self.tf1.nn.relu(self.tf1.matmul(self.X, kernel) + bias)
            self.init = self.tf1.global_variables_initializer()
        self.session = self.tf1.Session(graph=self.graph)

    def output(self) -> Any:
        return self.session.run(self.hidden1, {self.X: [[10.0, 11.0]]}).tolist()


@pytest.fixture(params=[False, True], ids=["reference", "resource"])
def live(request: pytest.FixtureRequest) -> Any:
    found = Live(request.param)
    with found.session:
        yield found


def test_feeding_the_inputs_of_the_assign_ops(live: Live) -> None:
    live.session.run(live.init, feed_dict=feed_for_assigns(live.graph, WEIGHTS))
    assert live.output() == ANSWER


def test_placeholders_with_assign_ops_of_their_own(live: Live) -> None:
    live.session.run(live.init)
    assert live.output() != ANSWER
    assign_with_placeholders(live.session, WEIGHTS)
    assert live.output() == ANSWER


def test_a_part_of_the_weights(live: Live) -> None:
    live.session.run(live.init)
    assign_with_placeholders(live.session, {"hidden1/bias": np.float32([7, 8, 9])})
    (bias,) = [variable for variable in live.graph.get_collection("variables") if "bias" in variable.name]
    assert live.session.run(bias).tolist() == [7.0, 8.0, 9.0]


@pytest.mark.parametrize("way", ["feed", "assign"])
def test_what_does_not_fit(live: Live, way: str) -> None:
    def put(weights: dict[str, Any]) -> None:
        if way == "feed":
            feed_for_assigns(live.graph, weights)
        else:
            assign_with_placeholders(live.session, weights)

    with pytest.raises(UnknownName, match="no variable named hidden1/bia; nearest: hidden1/bias"):
        put({"hidden1/bia": [7.0, 8.0, 9.0]})
    with pytest.raises(PlanError, match=r"hidden1/bias is given as \[2\], in the graph it is \[3\]"):
        put({"hidden1/bias": [7.0, 8.0]})
    with pytest.raises(PlanError, match="hidden1/bias is given as float64, in the graph it is float32: cast it"):
        put({"hidden1/bias": np.array([7.0, 8.0, 9.0])})
