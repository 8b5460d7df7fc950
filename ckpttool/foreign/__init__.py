"""Weights of other frameworks: where they lie in their files, and which variable each one becomes."""
