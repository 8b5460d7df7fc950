"""Edits of a checkpoint: each is a pure function from a Checkpoint to a Checkpoint, and reads no value by itself.

`table.py` has them as the command line knows them, `steps.py` applies several in their order.
"""
