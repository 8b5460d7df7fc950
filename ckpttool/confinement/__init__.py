"""Confinement: a child process that may use so much, and read and write what it was given; Linux has it."""
