"""A machine's resources for workers, bounded by a container or not."""

import os

import psutil
import pytest

from ckpttool.executors import machine


@pytest.fixture
def container(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("", 8)]
)
def test_a_quota_bounds_the_cores(container, quota, cores):
    (container / "cpu.max").write_text(quota)
    assert machine.cores() == cores


def test_a_container_bounds_the_memory(container, monkeypatch):
    (container / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:  8000 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", container / "meminfo")
    assert machine.free_memory() == 8000 << 10
    (container / "memory.max").write_text("max\n")
    (container / "memory.current").write_text("1000\n")
    assert machine.free_memory() == 8000 << 10
    (container / "memory.max").write_text("5000000\n")
    assert machine.free_memory() == 4_999_000


def test_this_machine_is_told_as_psutil_does(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.free_memory() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_a_machine_that_does_not_tell_has_unknown_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    assert machine.free_memory() is None
