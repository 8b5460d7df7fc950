"""Sources of data: a module for each kind of file."""
