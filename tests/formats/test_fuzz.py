"""Readers given changed bytes behind mended checksums: whatever they find wrong, they say in our own words."""

import random

import pytest
from fuzzing import TARGETS, mutated, tried

ROUNDS = 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_only_our_errors_leave_a_reader(tmp_path, name):
    target, chance = TARGETS[name], random.Random(f"{name} 1")
    assert tried(target, tmp_path, target.seed) is None
    for _ in range(ROUNDS):
        part = mutated(target.seed, chance)
        assert tried(target, tmp_path, part) is None, part[:200]
