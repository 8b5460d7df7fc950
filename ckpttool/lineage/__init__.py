"""Lineage: what an output was made of, by which command, from which sources; it lies in the output or beside it."""
