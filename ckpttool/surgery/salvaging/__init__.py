"""Salvaging: readers of damaged files, one for each kind, that take what is whole and say what is not, and why."""
