"""The server in the pod of a deployed workflow: one version of it, kept warm, that answers ``POST /trigger``.

``python -m chalicelib.pod``. It imports neither Chalice nor the Kubernetes client, so its image carries neither.
"""
