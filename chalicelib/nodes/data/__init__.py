"""Node types that shape data."""
