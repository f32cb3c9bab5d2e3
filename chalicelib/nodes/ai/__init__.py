"""Agents, and the models that they talk to."""
