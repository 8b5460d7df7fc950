"""Callbacks: reports and records of a training run."""
