"""Confinement: a child process with limits on resources and on the files it may access; Linux only."""
