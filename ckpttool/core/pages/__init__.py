"""Pages for a browser: their frame, style and script, and what tables and plots on them are made of."""
