"""Scanning: static detection of what could act when a file is opened or run; one module per kind of finding."""
