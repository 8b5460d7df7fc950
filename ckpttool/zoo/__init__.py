"""The catalogue's keeper: what models are found to be, how they are stored, and what becomes of them."""
