"""What stays as it is while the rest is trained: which ops and variables, and the rewrites that keep them so."""
