"""Options that several commands share, each defined once, by what they are about."""
