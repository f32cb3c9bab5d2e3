"""What a pod is told by its environment, besides ``foundation.settings``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.graph.deployments import POD_PORT, Deployed

DEFAULT_GRACE_S = 45
DEFAULT_LEASE_S = 30
DEFAULT_RUNS = 200


@dataclass(frozen=True)
class PodSettings:
    deployed: Deployed
    port: int
    host: str  #: address to listen on
    grace: timedelta  #: from SIGTERM to the end
    lease: timedelta  #: after which a run counts as nobody's whose process was not heard of
    runs: int  #: at once; more are refused
    name: str  #: of the pod, for its log

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> PodSettings:
        """Raises ``KeyError`` with the name of a variable that is missing, ``ValueError`` for what is none."""
        found = cls(
            deployed=Deployed.from_json(json.loads(env["MILLRACE_DEPLOYED"])),
            port=int(env.get("MILLRACE_PORT", "") or POD_PORT),
            host=env.get("MILLRACE_HOST", "") or "0.0.0.0",  # noqa: S104 (the pod's own network)
            grace=timedelta(seconds=float(env.get("MILLRACE_GRACE_S", "") or DEFAULT_GRACE_S)),
            lease=timedelta(seconds=float(env.get("MILLRACE_LEASE_S", "") or DEFAULT_LEASE_S)),
            runs=int(env.get("MILLRACE_POD_RUNS", "") or DEFAULT_RUNS),
            name=env.get("POD_NAME", ""),
        )
        if found.lease <= timedelta() or found.grace < timedelta() or found.runs < 1:
            raise ValueError("MILLRACE_LEASE_S and MILLRACE_POD_RUNS have to be positive, MILLRACE_GRACE_S 0 or more")
        return found
