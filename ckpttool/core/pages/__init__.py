"""HTML pages: their frame, style and script, and the elements of tables and plots on them."""
