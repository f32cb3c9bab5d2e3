"""Files with a graph in them: what goldens and scenarios have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.graph.model import Graph
from tests.notation import graph


@dataclass(frozen=True)
class GraphFile:
    """What a YAML file says: ``graph`` in the notation of ``tests.notation``, ``nodes`` (fields of nodes as requests
    spell them) and ``settings`` (of the workflow).
    """

    name: str
    raw: Mapping[str, Any]

    def __str__(self) -> str:
        return self.name

    @property
    def graph(self) -> Graph:
        return graph(self.raw["graph"], self.raw.get("nodes"))

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = self.raw.get("settings", {})
        return found
