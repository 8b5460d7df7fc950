"""Management of the catalogue: describing models, storing, comparing, transferring and removing them."""
