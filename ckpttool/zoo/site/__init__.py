"""A catalogue as pages for a browser: one that lists it, and one for each revision; no server, and no network."""
