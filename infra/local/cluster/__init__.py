"""A Kubernetes API server, its controllers and its node in one process, for the kinds that deployed workflows use.

Each replica is a process of this machine. What a real cluster refuses is refused here, in the same words::

    server          paths, bodies, answers; discovery, tables, proxies beside it
    objects         create, replace, patch (patches, apply), delete; defaults, validation, admission on the way
    store           the objects and their journal; watches
    controllers     deployments, replica_sets, endpoints, garbage
    kubelet         pods: containers, probes, processes, logs, environment

Arrows go down only. Nothing here knows of workflows but ``environment``, which names the image.
"""
