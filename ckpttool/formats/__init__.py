"""Formats of checkpoints: `registry` lists them, each has a folder, and `reading`, `writing` and `wire` are shared."""
