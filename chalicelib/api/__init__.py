"""The HTTP edges: one folder per published API. None imports another."""
