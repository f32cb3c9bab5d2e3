"""Lambda handlers that no HTTP request starts."""
