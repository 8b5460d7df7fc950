"""Zarr, and Orbax's checkpoints in it: chunked arrays, in files of a folder or in a database."""
