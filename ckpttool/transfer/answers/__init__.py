"""What a model says of rows: counted, and written to files."""
