"""Webhooks: requests of strangers, who know a key."""
