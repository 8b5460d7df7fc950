"""A catalogue as static HTML pages: one that lists it, and one for each revision; they need no server or network."""
