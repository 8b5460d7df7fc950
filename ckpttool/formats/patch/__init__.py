"""Patches: what makes of one checkpoint another, bit by bit; a file of its own kind, that is not a checkpoint."""
