"""Node types that steer a run."""
