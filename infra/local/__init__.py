"""The local stack: AWS on loopback, and the very deployment that production gets."""
