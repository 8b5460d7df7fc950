"""What a terminal shows: tables, plans, progress, errors."""
