"""Credentials, ``/api/v1/credentials``."""
