"""Approvals, ``/api/v1/approvals``."""
