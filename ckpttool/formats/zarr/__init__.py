"""Zarr, and what Orbax keeps in it: arrays in chunks, in files of a folder or in a database of one."""
