"""A file per verb: what the tool does, without the command line."""
