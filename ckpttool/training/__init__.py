"""Training runs, from their options to their records."""
