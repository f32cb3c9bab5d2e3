"""What the rules of a graph need to know of node types.

``chalicelib.nodes.registry`` answers; tests may answer with less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from chalicelib.foundation.errors import Fault
from chalicelib.foundation.json_types import Json


@dataclass(frozen=True)
class ConfigReport:
    """What is wrong with the config of a node, by kind. Paths begin at the config: ``fields.a[2]``."""

    invalid: tuple[Fault, ...] = ()
    malformed_expressions: tuple[Fault, ...] = ()
    missing: tuple[str, ...] = ()  # required keys that are absent
    unknown: tuple[str, ...] = ()  # keys that the type does not have


class NodeType(Protocol):
    """One entry of the catalog."""

    @property
    def name(self) -> str: ...

    @property
    def is_trigger(self) -> bool:
        """Whether runs start at it."""

    @property
    def ports_in(self) -> tuple[str, ...] | None:
        """Ports that take connections; None: any name."""

    @property
    def body_port(self) -> str | None:
        """The port from which a loop's body hangs."""

    @property
    def attachment_ports(self) -> tuple[str, ...]:
        """Ports that take attachments: a connection into one orders nothing."""

    @property
    def attaches_to(self) -> str | None:
        """The attachment port that a node of this type may be attached to."""

    def ports_out(self, config: Mapping[str, Json]) -> tuple[str, ...]:
        """Ports that a node with this config can take, the port ``error`` aside."""

    def check(self, config: Mapping[str, Json]) -> ConfigReport: ...

    def scopes_of(self, config: Mapping[str, Json]) -> tuple[str, ...]:
        """What a node with this config needs, as ``s3:read:reports``."""


class Catalog(Protocol):
    def find(self, name: str) -> NodeType | None: ...
