"""Motion out of a dataset, as joined arrays."""
