"""From a plan to a state machine: fragments, names and quotas."""
