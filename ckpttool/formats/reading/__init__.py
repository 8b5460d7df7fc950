"""What formats share that are read: bytes in files and zips, checked before they are trusted."""
