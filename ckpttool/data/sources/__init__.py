"""Sources: a module for each kind of data."""
