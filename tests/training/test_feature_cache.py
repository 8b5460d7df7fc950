"""What a cache accepts from the live graph: a tensor with a row for each row, or an error with its name."""

from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import GraphError
from ckpttool.training.feature_cache import FeatureCache


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cache whose live graph returns the value of `gives`."""
    made = object.__new__(FeatureCache)
    made.gives = {}  # type: ignore[attr-defined]
    monkeypatch.setattr(FeatureCache, "_outputs", lambda self, rows: self.gives)
    return made


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_row_for_each_row_is_taken(cache: Any, rows: int) -> None:
    cache.gives = {"a:0": np.ones((rows, 4)), "b:0": np.ones(rows)}
    assert cache.compute(np.arange(rows)) is cache.gives


@pytest.mark.parametrize(("shape", "said"), [((), r"\[\]"), ((4, 3), r"\[4, 3\]"), ((2,), r"\[2\]")])
def test_anything_else_is_refused(cache: Any, shape: tuple[int, ...], said: str) -> None:
    cache.gives = {"a:0": np.ones((3, 4)), "b:0": np.ones(shape)}
    with pytest.raises(GraphError, match=rf"^b:0 is {said} for 3 rows: not a row for each, so it can't be cached$"):
        cache.compute(np.arange(3))
