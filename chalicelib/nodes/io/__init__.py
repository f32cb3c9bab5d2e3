"""Node types that reach the world outside of a run."""
