"""What a model says of rows: read off its outputs, counted, and written to files."""
