"""The audit, ``/api/v1/audit``."""
