"""`fold`: a frozen graph gives what a session on the model gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Kind = tuple[bool, bool]
"""Of a network: whether its variables are resources, whether its conditionals and loops are functional."""


def run(frozen: Path, tensor: str, feed: dict[str, Any]) -> Any:
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(frozen.read_bytes())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(definition, name="")
        known = {op.name for op in graph.get_operations()}
        return session.run(tensor, {name: value for name, value in feed.items() if name.split(":")[0] in known})


def ops(shell: Any, path: Path) -> list[str]:
    return [line.split("\t")[1] for line in shell.lines("ops", path)]


def test_the_chapters_network_is_folded(shell: Any, model: Path, computed: Any, tmp_path: Path) -> None:
    out = tmp_path / "frozen.pb"
    result = shell.run("fold", model, "--outputs", "dnn/outputs/BiasAdd", "-o", out)
    assert result.stderr.endswith(f"{out}: written and read back, 12 variables are constants\n")
    found = ops(shell, out)
    assert len(found) == 30
    assert not {"Identity", "VariableV2", "Assign", "SaveV2"} & set(found)
    x = np.random.default_rng(0).normal(size=(4, 784)).astype(np.float32)
    expected = computed(model, "dnn/outputs/BiasAdd:0", {"X:0": x})
    np.testing.assert_allclose(run(out, "dnn/outputs/BiasAdd:0", {"X:0": x}), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [(False, False), (True, False)])
def test_batch_norm_loops_and_look_ups_are_folded_untrained(
    shell: Any,
    make_trained: Callable[..., Path],
    computed: Any,
    feed: Any,
    tmp_path: Path,
    kind: Kind,
) -> None:
    model, out = make_trained(*kind), tmp_path / "frozen.pb"
    result = shell.run("fold", model, "--outputs", "logits", "-o", out)
    assert "not fed any more, as if it never was: training\n" in result.stderr
    found = ops(shell, out)
    assert not {"VarHandleOp", "ReadVariableOp", "PlaceholderWithDefault"} & set(found)
    assert not any("drop" in line for line in shell.lines("ops", out) if "dropout" in line)
    expected = computed(model, "logits:0", feed)
    np.testing.assert_allclose(run(out, "logits:0", feed), expected, rtol=1e-5)
