"""A file per command: its options, the call of its verb, its output."""
