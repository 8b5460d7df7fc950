"""Scanning: what in a file could act when it is opened or run, told by reading it; a file per kind of finding."""
