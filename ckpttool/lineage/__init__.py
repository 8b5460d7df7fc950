"""Lineage: how an output was made: the command, its sources and edits. It is stored in the output or beside it."""
