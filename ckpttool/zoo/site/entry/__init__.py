"""The page of one revision of a catalogue."""
