"""Patches: files (no checkpoints) with which one checkpoint becomes another, bit for bit."""
