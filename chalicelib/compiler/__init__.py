"""Graph -> plan -> Amazon States Language; ``pipeline`` is the place to start reading."""
