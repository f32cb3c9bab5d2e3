"""Node types at which runs start."""
