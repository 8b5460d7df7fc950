"""A file per command: its options, one verb, one output."""
