"""The executions of every API, ``/api/v1/executions``."""
