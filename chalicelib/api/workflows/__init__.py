"""The workflows API, ``/api/v1/workflows``."""
