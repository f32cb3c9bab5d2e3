"""The cluster in which deployed workflows run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Observed:
    """What the cluster says of one deployment, at this moment."""

    exists: bool
    replicas: int  # wanted, by its spec
    ready: int  # pods that are ready and of the newest template
    is_rolled_out: bool  # the newest template is all there is, as many as wanted are ready
    failure: str | None  # why it will not come to run; None while it may


@dataclass(frozen=True)
class PodAnswer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class PodActivity:
    in_flight: int
    started_at: str
    last_ended_at: str | None
