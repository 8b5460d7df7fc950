"""Output to the terminal: tables, plans, progress, errors."""
