"""Options that several commands share, each said once, and what reads them."""
