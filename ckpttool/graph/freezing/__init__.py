"""Freezing: the ops and variables that do not change while the rest is trained, and the required rewrites."""
