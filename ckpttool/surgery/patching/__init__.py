"""Patches made of two checkpoints, and applied to the first: bit by bit the second one again."""
