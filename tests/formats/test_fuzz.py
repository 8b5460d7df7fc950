"""Readers of changed bytes behind repaired checksums: they raise only ckpttool's errors."""

import random

import pytest
from fuzzing import TARGETS, kept, mutated, tried

ROUNDS = 25
"""Changes of each target: some seconds in total, with the stored inputs."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_only_our_errors_leave_a_reader(tmp_path, name):
    target, chance = TARGETS[name], random.Random(f"{name} 1")
    assert tried(target, tmp_path, target.seed) is None
    for _ in range(ROUNDS):
        part = mutated(target.seed, chance)
        assert tried(target, tmp_path, part) is None, part[:200]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_kept_is_read_or_refused(tmp_path, name):
    for part in kept(name):
        assert tried(TARGETS[name], tmp_path, part) is None, part[:200]
